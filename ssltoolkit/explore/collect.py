"""Measure every sound of a folder in shards with several processes; an interrupted run can be continued."""

from __future__ import annotations

import concurrent.futures
import multiprocessing
import os
import signal
import threading
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple, Union

import numpy as np
from tqdm import tqdm

from ssltoolkit.data.shards import input_key
from ssltoolkit.errors import UserError, writing
from ssltoolkit.explore.measure import HOP, THUMB, WINDOW

PathLike = Union[str, Path]
#: largest number of sounds and of bytes per shard, which limits the loss when a run is interrupted
SHARD, SHARD_BYTES = 64, 2**26
#: version of the shard format; shards of other versions are measured again
FORMAT = 2
#: size and modification time (ns) of a file, to detect changes
State = Tuple[int, int]
#: the model of this process, see :func:`_start`
_model: Any = None


class Measured(NamedTuple):
    """All readable sounds.

    Attributes:
        paths: paths relative to the folder, with ``/``.
        scenes: (N, D) float32.
        windows: (W, D') float16, windows of all sounds.
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
    """Load a model on the CPU as a function of NumPy arrays; an ONNX model needs no torch."""
    if name.endswith(".onnx"):
        from ssltoolkit.hub.onnx_model import OnnxModel

        return OnnxModel(name)
    from ssltoolkit.embedding import load_frozen
    from ssltoolkit.stages.embed import as_arrays

    return as_arrays(load_frozen(name))


def _start(name: str) -> None:
    """Initialise a worker process, with one thread because the processes share the CPU."""
    global _model
    parent = multiprocessing.parent_process()
    if parent is not None:
        # Ctrl-C reaches the whole process group: leave it to the parent, which ends its workers.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    os.environ["OMP_NUM_THREADS"] = "1"
    _model = load_arrays(name)
    if not name.endswith(".onnx"):
        import torch

        torch.set_num_threads(1)


def _end_with(parent: Any) -> None:
    parent.join()
    os._exit(1)


def _measure_shard(root: str, paths: Sequence[str], states: Sequence[State], output: str, key: str) -> int:
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
    state_of = dict(zip(paths, states))
    arrays = {
        "key": np.array(key), "states": np.array([state_of[path] for path in kept + broken], np.int64),
        "paths": np.array(kept, dtype=str),
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
    """Measure every sound that has not been measured yet; complete shards of an interrupted run are kept.

    Args:
        root: folder that the paths are relative to.
        paths: paths of the sounds.
        model: name of the model, loaded in each process.
        model_hash: hash of the model; sounds measured with another model and changed files are measured again.
        folder: folder of the shards.
        jobs: number of processes.

    Returns:
        the sounds in the order of ``paths``.

    Raises:
        UserError: no file can be read, or a process was killed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    states = {path: _state(root / path) for path in paths}
    key = input_key(FORMAT, model_hash, WINDOW, HOP, THUMB)
    before = [shard for file in _files(folder) if (shard := _read(file, key, states)) is not None]
    known = {path for shard in before for path in (*shard.rows, *shard.broken)}
    left = [path for path in paths if path not in known]
    number = max((int(file.name.split(".")[1]) + 1 for file in _files(folder)), default=0)
    tasks = [
        (str(root), part, [states[path] for path in part], str(folder / f"shard.{number + place:05d}.npz"), key)
        for place, part in enumerate(_parts(left, states))
    ]
    with tqdm(total=len(paths), initial=len(paths) - len(left), unit="sound", desc="embed", mininterval=1.0,
              smoothing=0.05) as bar:  # fmt: skip
        if tasks:
            _run(tasks, model, jobs, bar)
    shards = before + [shard for task in tasks if (shard := _read(Path(task[3]), key, states)) is not None]
    for file in [*_files(folder), *folder.glob("shard.*.tmp")]:  # outdated: of removed sounds, or of another model
        if not any(shard.file == file and (shard.rows or shard.broken) for shard in shards):
            file.unlink()
    return _joined(shards, paths, root)


def _state(path: Path) -> State:
    found = os.stat(path)
    return found.st_size, found.st_mtime_ns


def _files(folder: Path) -> List[Path]:
    return sorted(file for file in folder.glob("shard.*.npz") if file.name.split(".")[1].isdigit())


def _parts(paths: Sequence[str], states: Dict[str, State]) -> List[List[str]]:
    """Split sounds into shards; shards of long sounds have fewer."""
    parts: List[List[str]] = []
    held = 0
    for path in paths:
        size = states[path][0]
        if not parts or len(parts[-1]) == SHARD or held + size > SHARD_BYTES:
            parts.append([])
            held = 0
        parts[-1].append(path)
        held += size
    return parts


def _run(tasks: Sequence[tuple], model: str, jobs: int, bar: tqdm) -> None:
    if jobs == 1 or len(tasks) == 1:
        _start(model)
        for task in tasks:
            bar.update(_measure_shard(*task))
        return
    context = multiprocessing.get_context("spawn")
    pool = concurrent.futures.ProcessPoolExecutor(min(jobs, len(tasks)), context, _start, (model,))
    try:
        for future in concurrent.futures.as_completed([pool.submit(_measure_shard, *task) for task in tasks]):
            bar.update(future.result())
        pool.shutdown()
    except BaseException as error:
        # Otherwise leaving the context would wait for all pending shards.
        pool.shutdown(wait=False, cancel_futures=True)
        for process in multiprocessing.active_children():
            process.terminate()
        if isinstance(error, concurrent.futures.process.BrokenProcessPool):
            raise UserError(
                "a process that measures sounds was killed, perhaps because memory ran out; "
                "run the same command again to continue, with fewer processes (--nj 1)"
            ) from None
        raise


class _Shard(NamedTuple):
    """Measurements in a file: row of each unchanged sound, windows of every row, reasons of unreadable sounds."""

    file: Path
    rows: Dict[str, int]
    counts: np.ndarray
    broken: Dict[str, str]


def _read(file: Path, key: str, states: Dict[str, State]) -> Optional[_Shard]:
    """Read the usable part of a shard; None if it is damaged or belongs to another model."""
    try:
        with np.load(file) as content:
            if str(content["key"]) != key:
                return None
            kept, broken = [str(path) for path in content["paths"]], [str(path) for path in content["broken"]]
            same = {
                path: states.get(path) == tuple(state) for path, state in zip(kept + broken, content["states"].tolist())
            }
            reasons = {path: str(reason) for path, reason in zip(broken, content["reasons"]) if same[path]}
            return _Shard(file, {path: row for row, path in enumerate(kept) if same[path]}, content["counts"], reasons)
    except Exception:  # a truncated zip raises BadZipFile, which NumPy does not wrap
        return None


def _joined(shards: Sequence[_Shard], paths: Sequence[str], root: Path) -> Measured:
    left_out = {path: reason for shard in shards for path, reason in shard.broken.items()}
    counts = {path: int(shard.counts[row]) for shard in shards for path, row in shard.rows.items()}
    kept = [path for path in paths if path in counts]
    if not kept:
        path, reason = next(iter(left_out.items()))
        raise UserError(f"{root}: none of its {len(left_out)} audio file(s) can be read; the first: {reason}")
    place = {path: number for number, path in enumerate(kept)}
    first = np.concatenate([[0], np.cumsum([counts[path] for path in kept])])
    arrays: Dict[str, np.ndarray] = {}
    # Copy shard by shard into preallocated arrays, so that the windows of many hours are not in memory twice.
    for shard in shards:
        if not shard.rows:
            continue
        with np.load(shard.file) as content:
            begin = np.concatenate([[0], np.cumsum(shard.counts)])
            for name in ("scenes", "windows", "thumbs", "seconds", "pitch"):
                part, rows = content[name], len(place) if name != "windows" else int(first[-1])
                whole = arrays.setdefault(name, np.empty((rows, *part.shape[1:]), part.dtype))
                for path, row in shard.rows.items():
                    if name == "windows":
                        whole[first[place[path]] : first[place[path] + 1]] = part[begin[row] : begin[row + 1]]
                    else:
                        whole[place[path]] = part[row]
    return Measured(kept, first=first, left_out=left_out, **arrays)
