"""The index of an explored folder: unit vectors of sounds and half-second windows, projections, and file names."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Union

import numpy as np

from ssltoolkit.errors import UserError, writing
from ssltoolkit.explore.collect import Measured
from ssltoolkit.explore.vectors import Space, fit_space

PathLike = Union[str, Path]
#: dimensions of the vectors of sounds and of windows
SOUND_DIM, WINDOW_DIM = 256, 64


class Index(NamedTuple):
    """Index of N sounds and W windows.

    Attributes:
        meta: ``model``, ``model_hash``, ``root``, ``sample_rate``, ``window_seconds`` (length and hop).
        paths: paths relative to ``root``.
        sounds: (N, K) float32 of length 1; windows: (W, K') float32.
        first: (N + 1,) first window of each sound.
        sound_space, window_space: projections from embeddings to these vectors.
    """

    meta: Dict[str, Any]
    paths: List[str]
    sounds: np.ndarray
    windows: np.ndarray
    first: np.ndarray
    sound_space: Space
    window_space: Space


def make_index(measured: Measured, meta: Dict[str, Any], seed: int) -> Index:
    """Fit both projections to the measured sounds and build the index."""
    sound_space = fit_space(measured.scenes, SOUND_DIM, seed)
    window_space = fit_space(measured.windows, WINDOW_DIM, seed)
    return Index(
        meta,
        measured.paths,
        sound_space.vectors(measured.scenes),
        window_space.vectors(measured.windows),
        measured.first,
        sound_space,
        window_space,
    )


def save_index(index: Index, folder: Path) -> None:
    """Write ``index.npz``, then ``index.json``: a folder without the latter is incomplete."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "index.json").unlink(missing_ok=True)
    with writing(folder / "index.npz"), open(folder / "index.npz", "wb") as stream:
        np.savez(
            stream, sounds=index.sounds, windows=index.windows.astype(np.float16), first=index.first,
            **{f"sound_{name}": value for name, value in index.sound_space._asdict().items()},
            **{f"window_{name}": value for name, value in index.window_space._asdict().items()},
        )  # fmt: skip
    with writing(folder / "index.json"):
        (folder / "index.json.tmp").write_text(json.dumps({**index.meta, "paths": index.paths}), encoding="utf-8")
        os.replace(folder / "index.json.tmp", folder / "index.json")


def load_index(folder: PathLike) -> Index:
    """Read an index written by :func:`save_index`.

    Raises:
        UserError: no such index, or a damaged one.
    """
    folder = Path(folder) / "index" if (Path(folder) / "index").is_dir() else Path(folder)
    try:
        meta = json.loads((folder / "index.json").read_text(encoding="utf-8"))
        with np.load(folder / "index.npz") as content:
            arrays = dict(content)
        spaces = [Space(*(arrays[f"{kind}_{name}"] for name in Space._fields)) for kind in ("sound", "window")]
        paths = list(meta.pop("paths"))
        found = Index(meta, paths, arrays["sounds"], arrays["windows"].astype(np.float32), arrays["first"], *spaces)
        if (
            len(found.sounds) != len(paths)
            or len(found.first) != len(paths) + 1
            or found.first[-1] != len(found.windows)
        ):
            raise ValueError("sizes differ")
        return found
    except OSError as error:
        raise UserError(
            f"{folder}: no index here ({error.strerror or error}); "
            "ssltoolkit explore writes one, give its output folder"
        ) from None
    except Exception as error:  # a damaged zip, JSON or array
        raise UserError(f"{folder}: a damaged index ({type(error).__name__}); run ssltoolkit explore again") from None
