"""Measure every sound of a folder, in shards, by several processes; a run that was stopped goes on."""

from __future__ import annotations

import concurrent.futures
import multiprocessing
import os
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Sequence, Tuple, Union

import numpy as np
from tqdm import tqdm

from ssltoolkit.data.shards import input_key
from ssltoolkit.errors import UserError, writing

PathLike = Union[str, Path]
#: sounds of a shard: what is lost at most when a run is stopped
SHARD = 64
#: the model of this process, see :func:`_start`
_model: Any = None


class Measured(NamedTuple):
    """All readable sounds.

    Attributes:
        paths: relative to the folder, with ``/``.
        scenes: (N, D) float32.
        windows: (W, D') float16, of all sounds.
        first: (N + 1,) first window of each sound.
        thumbs: (N, rows, columns) uint8.
        seconds, pitch: (N,).
        left_out: relative path -> reason.
    """

    paths: List[str]
    scenes: np.ndarray
    windows: np.ndarray
    first: np.ndarray
    thumbs: np.ndarray
    seconds: np.ndarray
    pitch: np.ndarray
    left_out: Dict[str, str]


def load_arrays(name: str) -> Any:
    """The model of a name between NumPy arrays, on the CPU; one in ONNX without torch."""
    if name.endswith(".onnx"):
        from ssltoolkit.hub.onnx_model import OnnxModel

        return OnnxModel(name)
    from ssltoolkit.embedding import load_frozen
    from ssltoolkit.stages.embed import as_arrays

    return as_arrays(load_frozen(name))


def _start(name: str) -> None:
    """One thread a process: several processes share the processors."""
    global _model
    os.environ["OMP_NUM_THREADS"] = "1"
    _model = load_arrays(name)
    if not name.endswith(".onnx"):
        import torch

        torch.set_num_threads(1)


def _measure_shard(root: str, paths: Sequence[str], output: str, key: str) -> int:
    from ssltoolkit.errors import DataError
    from ssltoolkit.explore.measure import measure

    sounds, kept, reasons, broken = [], [], [], []
    for path in paths:
        try:
            sounds.append(measure(os.path.join(root, path), _model))
            kept.append(path)
        except DataError as error:
            broken.append(path)
            reasons.append(str(error).replace("\n", " "))
    arrays = {
        "key": np.array(key), "paths": np.array(kept, dtype=str),
        "broken": np.array(broken, dtype=str), "reasons": np.array(reasons, dtype=str),
        "counts": np.array([len(sound.windows) for sound in sounds], dtype=np.int64),
        "seconds": np.array([sound.seconds for sound in sounds]), "pitch": np.array([sound.pitch for sound in sounds]),
    }  # fmt: skip
    if sounds:
        arrays.update(
            scenes=np.stack([sound.scene for sound in sounds]),
            windows=np.concatenate([sound.windows for sound in sounds]),
            thumbs=np.stack([sound.thumb for sound in sounds]),
        )  # fmt: skip
    with writing(output), open(output + ".tmp", "wb") as stream:
        np.savez(stream, **arrays)
    os.replace(output + ".tmp", output)
    return len(paths)


def collect(root: Path, paths: Sequence[str], model: str, model_hash: str, folder: Path, jobs: int) -> Measured:
    """Measure every sound.

    Args:
        root: folder that the paths are relative to.
        paths: of the sounds.
        model: its name, loaded in each process.
        model_hash: of the model; other than that of a shard, the shard is measured anew.
        folder: of the shards.
        jobs: processes.

    Raises:
        UserError: not one file can be read.
    """
    folder.mkdir(parents=True, exist_ok=True)
    shards = [paths[first : first + SHARD] for first in range(0, len(paths), SHARD)]
    todo: List[Tuple[Sequence[str], str, str]] = []
    done = 0
    for number, shard in enumerate(shards):
        states = [os.stat(root / path) for path in shard]
        key = input_key(model_hash, list(shard), [(state.st_size, state.st_mtime_ns) for state in states])
        output = folder / f"shard.{number:05d}.npz"
        if _key_of(output) == key:
            done += len(shard)
        else:
            todo.append((shard, str(output), key))
    bar = tqdm(total=len(paths), initial=done, unit="sound", desc="embed", mininterval=1.0, smoothing=0.05)
    with bar:
        if len(todo) == 1 or jobs == 1:
            if todo:
                _start(model)
            for task in todo:
                bar.update(_measure_shard(str(root), *task))
        elif todo:
            context = multiprocessing.get_context("spawn")
            with concurrent.futures.ProcessPoolExecutor(min(jobs, len(todo)), context, _start, (model,)) as pool:
                for future in concurrent.futures.as_completed(
                    [pool.submit(_measure_shard, str(root), *task) for task in todo]
                ):
                    bar.update(future.result())
    for path in folder.glob("shard.*.npz"):  # of a folder that had more sounds
        if int(path.name.split(".")[1]) >= len(shards):
            path.unlink()
    return _joined([folder / f"shard.{number:05d}.npz" for number in range(len(shards))], root)


def _key_of(path: Path) -> str:
    try:
        with np.load(path) as content:
            return str(content["key"])
    except (OSError, ValueError, KeyError, EOFError):
        return ""
    except Exception:  # a zip that is cut off raises BadZipFile, which NumPy does not wrap
        return ""


def _joined(files: Sequence[Path], root: Path) -> Measured:
    parts = [dict(np.load(path)) for path in files]
    left_out = {str(path): str(reason) for part in parts for path, reason in zip(part["broken"], part["reasons"])}
    parts = [part for part in parts if len(part["paths"])]
    if not parts:
        path, reason = next(iter(left_out.items()))
        raise UserError(f"{root}: none of its {len(left_out)} audio file(s) can be read; the first: {reason}")
    joined = {
        name: np.concatenate([part[name] for part in parts])
        for name in ("scenes", "windows", "thumbs", "seconds", "pitch", "counts")
    }
    first = np.concatenate([[0], np.cumsum(joined.pop("counts"))])
    return Measured([str(path) for part in parts for path in part["paths"]], first=first, left_out=left_out, **joined)
