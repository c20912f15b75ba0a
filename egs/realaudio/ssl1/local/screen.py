#!/usr/bin/env python3
"""Screen frozen scene embeddings on the development tasks in a minute, as the first step of a search.

Speakers, files and instruments are cross-validated instead of using the single split, because accuracy on digits of one
speaker varies by five points between seeds of a configuration, and by twenty between column subsets of a network.
Kernel ridge regression on standardised columns takes seconds; ``--probe table`` uses the MLP probes of the table of
results (quick, seed 0), which take a minute for ``--tasks digits,folders``:

    local/screen.py exp/main/seed0/embed/clip exp/main/seed0/embed/all

prints one line per model: accuracy in per cent on ``digits`` (one of four speakers left out), ``folders`` (five
folds), ``notes`` (four folds of instruments), ``few`` (one of these folds for training, the others for test) and
``one`` (one instrument for training, all others for test)."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Callable, Dict, List, Optional, Sequence, Tuple

import numpy as np

from ssltoolkit import command_line
from ssltoolkit.data.datadir import read_table
from ssltoolkit.errors import UserError
from ssltoolkit.evaluation.features import Features
from ssltoolkit.evaluation.probe import fit_probes
from ssltoolkit.evaluation.probe_config import probe_config
from ssltoolkit.evaluation.store import EmbeddingStore

SPLITS = ("train", "valid", "test")
TASKS = ("digits", "folders", "notes")
#: function from training, validation and test rows, (N,) int64 each, to the class index of each test row
Classifier = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]
#: grid of widths of the Gaussian kernel, in root mean square distances between rows, and of penalties
WIDTHS = (0.7, 1.4, 2.8)
PENALTIES = (1e-3, 1e-2, 1e-1)


def read_task(embed_dir: Path, data_dir: Path, labels: str) -> Tuple[List[str], np.ndarray, np.ndarray]:
    """Utterances of all splits, their embeddings (N, D) float32 and their labels (N,) str.

    Raises:
        UserError: embeddings or labels of a split or an utterance are missing.
    """
    utterances: List[str] = []
    rows: List[np.ndarray] = []
    found: Dict[str, str] = {}
    for split in SPLITS:
        store, path = EmbeddingStore(embed_dir / split), data_dir / split / labels
        if not path.is_file():
            raise UserError(
                f"{path}: No such file or directory; make the development tasks first: ./run.sh --form dev "
                "--stop_stage 2"
            )
        found.update(read_table(path))
        for utterance in store.utt_ids:
            if utterance not in found:
                raise UserError(
                    f"{path}: no label of utterance {utterance!r}; the embeddings have other data, run stage 5 again"
                )
            utterances.append(utterance)
            rows.append(store.matrix[store.rows(utterance)][0])
    return utterances, np.stack(rows), np.array([found[utterance] for utterance in utterances])


def squared_distances(rows: np.ndarray) -> np.ndarray:
    """Squared distances between standardised rows (N, D): (N, N) float64, 1 on average."""
    deviation = rows.std(0)
    x = ((rows - rows.mean(0)) / np.where(deviation > 1e-6, deviation, np.inf)).astype(np.float64)
    squares = (x * x).sum(1)
    distances = np.maximum(squares[:, None] + squares[None] - 2.0 * x @ x.T, 0.0)
    return distances / distances.mean()


def predict(
    distances: np.ndarray, classes: np.ndarray, train: np.ndarray, asked: np.ndarray, width: float, penalty: float
) -> np.ndarray:
    """Predict the class index of every row in ``asked`` from the rows in ``train``."""
    kernel = np.exp(-distances[np.ix_(train, train)] / (2.0 * width**2))
    targets = np.eye(classes.max() + 1)[classes[train]]
    weights = np.linalg.solve(kernel + penalty * np.eye(len(train)), targets - targets.mean(0))
    return (np.exp(-distances[np.ix_(asked, train)] / (2.0 * width**2)) @ weights + targets.mean(0)).argmax(1)


def kernel(rows: np.ndarray, classes: np.ndarray) -> Classifier:
    """Kernel ridge regression with width and penalty selected on the validation rows."""
    distances = squared_distances(rows)
    choices = [(width, penalty) for width in WIDTHS for penalty in PENALTIES]

    def classify(train: np.ndarray, valid: np.ndarray, test: np.ndarray) -> np.ndarray:
        best = max(
            choices, key=lambda choice: (predict(distances, classes, train, valid, *choice) == classes[valid]).mean()
        )
        return predict(distances, classes, train, test, *best)

    return classify


def perceptrons(rows: np.ndarray, classes: np.ndarray) -> Classifier:
    """The probe of the table of results, ``--quick_probe true --probe_seeds 0``."""

    def classify(train: np.ndarray, valid: np.ndarray, test: np.ndarray) -> np.ndarray:
        features = [Features([(rows, chosen)]) for chosen in (train, valid, test)]

        def scorer(probabilities: np.ndarray) -> np.ndarray:
            return (probabilities.argmax(2) == classes[valid]).mean(1)

        (probe,) = fit_probes(
            features[0],
            classes[train],
            features[1],
            scorer,
            int(classes.max()) + 1,
            [0],
            probe_config("standard", quick=True),
        )
        return probe.predict(features[2]).argmax(1)

    return classify


PROBES = {"kernel": kernel, "table": perceptrons}


def score(classify: Classifier, classes: np.ndarray, folds: np.ndarray, exchanged: bool = False) -> float:
    """Cross-validated accuracy in per cent; the probe's parameters are selected on the next fold.

    Args:
        exchanged: train on one fold in turn, and test on all others except the validation fold.
    """
    right = total = 0
    count = folds.max() + 1
    for fold in range(count):
        one, beside = folds == fold, folds == (fold + 1) % count
        train, test = (one, ~one & ~beside) if exchanged else (~one & ~beside, one)
        train, test, valid = (np.flatnonzero(chosen) for chosen in (train, test, beside))
        right += int((classify(train, valid, test) == classes[test]).sum())
        total += len(test)
    return 100.0 * right / total


def _numbered(names: Sequence[str]) -> np.ndarray:
    """Map names to numbers from 0 in sorted order."""
    return np.unique(names, return_inverse=True)[1]


def _dealt(classes: np.ndarray, folds: int) -> np.ndarray:
    """Assign rows to folds, with each class spread over all folds."""
    out = np.empty(len(classes), dtype=np.int64)
    for index in range(classes.max() + 1):
        chosen = np.flatnonzero(classes == index)
        out[chosen] = np.random.default_rng(index).permutation(len(chosen)) % folds
    return out


def screen(
    embed_dir: Path, data_dir: Path, form: str = "dev", probe: str = "kernel", tasks: Sequence[str] = TASKS
) -> Dict[str, float]:
    """The scores of one model's embeddings (``<embed_dir>/<form>_digits/train`` and so on); ``notes`` gives three."""
    scores = {}
    splits: Dict[str, Tuple[str, Callable[[List[str], np.ndarray], np.ndarray]]] = {
        "digits": ("utt2label", lambda utterances, _: _numbered([name.split("_")[1] for name in utterances])),
        "folders": ("utt2label", lambda _, classes: _dealt(classes, 5)),
        "notes": ("utt2pitch", lambda utterances, _: _numbered([name.rsplit("-", 2)[0] for name in utterances])),
    }
    for task in tasks:
        labels, folds_of = splits[task]
        utterances, rows, names = read_task(embed_dir / f"{form}_{task}", data_dir / f"{form}_{task}", labels)
        classes = _numbered(names)
        classify, folds = PROBES[probe](rows, classes), folds_of(utterances, classes)
        scores[task] = score(classify, classes, folds % 4 if task == "notes" else folds)
        if task == "notes":
            scores["few"] = score(classify, classes, folds % 4, exchanged=True)
            scores["one"] = score(classify, classes, folds, exchanged=True)
    return scores


def main(argv: Optional[List[str]] = None) -> int:
    parser = command_line.Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("embed_dirs", nargs="+", type=Path, help="embedding folders of stage 5, one per model")
    parser.add_argument("--data_dir", type=Path, default=Path("dump/raw"), help="output folder of stage 2")
    parser.add_argument("--form", choices=("dev", "test"), default="dev")
    parser.add_argument("--probe", choices=tuple(PROBES), default="kernel")
    parser.add_argument("--tasks", default=",".join(TASKS), help="comma-separated")
    args = parser.parse_args(argv)
    tasks = args.tasks.split(",")
    for task in tasks:
        if task not in TASKS:
            raise UserError(f"--tasks: must be of {', '.join(TASKS)}, got {task!r}")
    for index, embed_dir in enumerate(args.embed_dirs):
        scores = screen(embed_dir, args.data_dir, args.form, args.probe, tasks)
        if index == 0:
            print("\t".join(["model", *scores]))
        print("\t".join([str(embed_dir), *(f"{value:.1f}" for value in scores.values())]), flush=True)
    return command_line.EXIT_OK


if __name__ == "__main__":
    sys.exit(command_line.run(main))
