"""Search for the sounds, or half-second windows, that are most similar to a query."""

from __future__ import annotations

from typing import Any, List, NamedTuple

import numpy as np

from ssltoolkit.data.audio import read_audio, resample
from ssltoolkit.errors import UserError
from ssltoolkit.explore.index import Index
from ssltoolkit.explore.measure import pooled, window_seconds
from ssltoolkit.explore.vectors import top


class Hit(NamedTuple):
    """A sound of the index, its cosine and, for windows, the times in the sound and in the query and the length (s)."""

    path: str
    cosine: float
    start: float = 0.0
    query_start: float = 0.0
    length: float = 0.0


def search_sounds(index: Index, model: Any, query: str, count: int) -> List[Hit]:
    """The nearest sounds, nearest first.

    Raises:
        DataError: the query cannot be read.
    """
    samples, rate = read_audio(query)
    scene = model.scenes(resample(samples, rate, model.sample_rate)[None])
    places, cosines = top(index.sounds, index.sound_space.vectors(scene), count)
    return [Hit(index.paths[place], min(1.0, float(cosine))) for place, cosine in zip(places[0], cosines[0])]


def search_windows(index: Index, model: Any, query: str, count: int) -> List[Hit]:
    """The best-matching half-second window of every sound, best first."""
    samples, rate = read_audio(query)
    frames = model.frames(resample(samples, rate, model.sample_rate)[None])[0]
    wanted = index.window_space.vectors(pooled(frames, model.hop_ms))
    length, hop = window_seconds(model.hop_ms)
    best, asked = np.full(len(index.windows), -2.0, np.float32), np.zeros(len(index.windows), int)
    for number, vector in enumerate(wanted):
        scores = index.windows @ vector
        better = scores > best
        best[better], asked[better] = scores[better], number
    maxima = np.maximum.reduceat(best, index.first[:-1])
    hits = []
    for sound in np.argsort(-maxima, kind="stable")[:count]:
        window = index.first[sound] + int(best[index.first[sound] : index.first[sound + 1]].argmax())
        hits.append(
            Hit(
                index.paths[sound],
                min(1.0, float(best[window])),
                hop * (window - index.first[sound]),
                hop * asked[window],
                length,
            )
        )
    return hits


def check_model(index: Index, model: Any) -> None:
    """Check that the model is the one of the index.

    Raises:
        UserError: it is another model.
    """
    if model.identity["model_hash"] != index.meta.get("model_hash"):
        raise UserError(
            f"--model: the index was made with another model ({index.meta.get('model')}, "
            f"sha256 {str(index.meta.get('model_hash'))[:12]}); give that one or run ssltoolkit explore again"
        )


def table(hits: List[Hit], windows: bool) -> str:
    """Tab-separated lines of rank, cosine, times and path, with a header; a tab in a path is written ``\\t``."""
    if not windows:
        rows = [f"{rank}\t{hit.cosine:.4f}\t{_shown(hit.path)}" for rank, hit in enumerate(hits, 1)]
        return "\n".join(["rank\tcosine\tpath", *rows])
    rows = [
        f"{rank}\t{hit.cosine:.4f}\t{hit.start:.2f}\t{hit.start + hit.length:.2f}\t{hit.query_start:.2f}\t"
        f"{_shown(hit.path)}"
        for rank, hit in enumerate(hits, 1)
    ]
    return "\n".join(["rank\tcosine\tstart\tend\tin_query\tpath", *rows])


def _shown(path: str) -> str:
    return path.replace("\t", "\\t")
