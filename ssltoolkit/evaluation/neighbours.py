"""k-nearest-neighbour probe: no training, cosine similarity, k selected on valid."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Dict, List, Sequence

import numpy as np
import torch
from torch.nn import functional

from ssltoolkit.evaluation.features import Features
from ssltoolkit.evaluation.probe import Scorer

NEIGHBOURS = (1, 3, 5, 10, 20, 50)
#: similarity of a neighbour is weighted by exp(similarity / temperature)
TEMPERATURE = 0.07
QUERY_ROWS = 1024


@dataclass
class FittedNeighbours:
    """Training rows (N, D), their targets (N, C) and the chosen number of neighbours."""

    seed: int
    neighbours: int
    valid_score: float
    rows: torch.Tensor
    targets: torch.Tensor
    mean: np.ndarray
    scale: np.ndarray

    def predict(self, features: Features) -> np.ndarray:
        """Class probabilities, or numbers, (n, C) float32 of every row."""
        features.transform(self.mean, self.scale)
        return _votes(self.rows, self.targets, features, (self.neighbours,))[0]

    def summary(self) -> Dict[str, object]:
        """Entries for the result file."""
        return {"seed": self.seed, "neighbours": self.neighbours, "valid_score": self.valid_score}


def _votes(rows: torch.Tensor, targets: torch.Tensor, queries: Features, neighbours: Sequence[int]) -> np.ndarray:
    """Weighted vote for each class (or mean of each number) among the nearest rows, (len(neighbours), n, C)."""
    most = min(max(neighbours), len(rows))
    votes: List[torch.Tensor] = []
    for x in queries.chunks(QUERY_ROWS):
        similarity, index = (functional.normalize(x, dim=1) @ rows.T).topk(most, dim=1)
        weight = torch.exp((similarity - 1.0) / TEMPERATURE)
        running = (weight[:, :, None] * targets[index]).cumsum(dim=1)
        total = weight.cumsum(dim=1)[:, :, None]
        votes.append(torch.stack([(running[:, k] / total[:, k]) for k in (min(k, most) - 1 for k in neighbours)]))
    return torch.cat(votes, dim=1).numpy()


def fit_neighbours(
    train: Features, targets: np.ndarray, valid: Features, scorer: Scorer, num_outputs: int, seeds: Sequence[int]
) -> List[FittedNeighbours]:
    """Select the number of neighbours on valid; nothing is random, so every seed gets the same probe.

    Args:
        targets: (N,) int64 class indices, (N, C) 0/1, or (N, C) numbers, whose weighted mean is then predicted.
    """
    mean, deviation = train.statistics()
    train.standardise(mean, deviation)
    valid.standardise(mean, deviation)
    rows = torch.cat([functional.normalize(x, dim=1) for x in train.chunks()])
    hot = np.eye(num_outputs, dtype=np.float32)[targets] if targets.ndim == 1 else targets.astype(np.float32)
    hot = torch.from_numpy(hot)
    scores = np.nan_to_num(scorer(_votes(rows, hot, valid, NEIGHBOURS)), nan=-np.inf)
    best = int(np.argmax(scores))
    return [
        FittedNeighbours(s, NEIGHBOURS[best], float(scores[best]), rows, hot, train.mean, train.scale) for s in seeds
    ]
