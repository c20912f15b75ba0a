"""Checkpoints: written atomically with a checksum, read with ``weights_only``."""

from __future__ import annotations

import hashlib
import os
import platform
import random
import subprocess
import sys
from pathlib import Path
from typing import Any, Dict, Optional, Union

import numpy as np
import torch

from ssltoolkit import __version__
from ssltoolkit.errors import UserError, no_room

PathLike = Union[str, Path]
FORMAT = 1


def versions() -> Dict[str, str]:
    """Versions of the libraries that results depend on."""
    return {
        "ssltoolkit": __version__,
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "numpy": np.__version__,
    }


def git_commit() -> str:
    """The commit of the source tree, ``unknown`` outside one; ``-dirty`` marks uncommitted changes."""
    root = Path(__file__).resolve().parents[2]
    try:
        described = subprocess.run(
            ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=12"],
            capture_output=True,
            text=True,
            timeout=10,
        )
    except (OSError, subprocess.TimeoutExpired):
        return "unknown"
    return described.stdout.strip() if described.returncode == 0 else "unknown"


def random_state(device: torch.device) -> Dict[str, Any]:
    """State of the global random generators of torch, NumPy and Python, which plugins may use.

    Batches and views do not use them: they are drawn from seed and step. Of the GPUs only the one in use is saved. All
    processes of a run draw the same numbers, so the main process's state holds for all.
    """
    _, words, position, has_normal, normal = np.random.get_state()
    version, python, python_normal = random.getstate()
    state: Dict[str, Any] = {
        "torch": torch.get_rng_state(),
        "numpy": [torch.from_numpy(words.astype(np.int64)), int(position), int(has_normal), float(normal)],
        "python": [version, torch.tensor(python), python_normal],
    }
    if device.type == "cuda":
        state["cuda"] = [torch.cuda.get_rng_state(device)]
    return state


def restore_random_state(state: Dict[str, Any], device: torch.device) -> None:
    """Inverse of :func:`random_state`, on this process's device; earlier versions saved only torch's state.

    Raises:
        ValueError: not a valid state.
    """
    torch.set_rng_state(state["torch"])
    own = random_state(torch.device("cpu"))
    if "numpy" in state:
        words, position, has_normal, normal = fitting(own["numpy"], state["numpy"])
        if not 0 <= position <= 624:  # NumPy would read out of bounds
            raise ValueError(f"position {position!r} of NumPy's generator")
        np.random.set_state(("MT19937", words.numpy().astype(np.uint32), int(position), int(has_normal), float(normal)))
    if "python" in state:
        version, python = fitting(own["python"][:2], state["python"][:2])
        normal = state["python"][2]
        random.setstate((version, tuple(python.tolist()), None if normal is None else float(normal)))
    if device.type == "cuda" and state.get("cuda"):
        torch.cuda.set_rng_state(state["cuda"][0], device)


def file_hash(path: PathLike) -> str:
    """SHA-256 of a file."""
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        for block in iter(lambda: stream.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def save_checkpoint(path: PathLike, content: Dict[str, Any]) -> None:
    """Write a checkpoint under a temporary name, sync it, and rename it; its SHA-256 is written next to it.

    Raises:
        UserError: the disk is full or not writable; the previous checkpoint is untouched.
    """
    path = Path(path)
    temporary, checksum = path.with_name(path.name + ".tmp"), path.with_name(path.name + ".sha256.tmp")
    try:
        with open(temporary, "wb") as stream:
            torch.save({"format": FORMAT, "versions": versions(), "commit": git_commit(), **content}, stream)
            stream.flush()
            os.fsync(stream.fileno())
        # Sync the checksum too: an empty one after a power failure would make an intact checkpoint look damaged.
        with open(checksum, "w") as stream:
            stream.write(f"{file_hash(temporary)}  {path.name}\n")
            stream.flush()
            os.fsync(stream.fileno())
        # Remove the old checksum first: a checkpoint without one is readable, one with a wrong one is not.
        Path(f"{path}.sha256").unlink(missing_ok=True)
        os.replace(temporary, path)
        os.replace(checksum, f"{path}.sha256")
        _sync_folder(path.parent)
    except (OSError, RuntimeError) as error:
        temporary.unlink(missing_ok=True)
        checksum.unlink(missing_ok=True)
        # On a full disk torch reports an unexpected position; the OSError is in __context__.
        reason = error.__context__ if isinstance(error.__context__, OSError) else error
        fix = (
            "free some space"
            if no_room(reason) or not isinstance(reason, OSError)
            else "check that its folder exists and is writable"
        )
        raise UserError(
            f"{path}: cannot write the checkpoint: {reason}; {fix}, then run the same command again"
        ) from None


def _sync_folder(folder: Path) -> None:
    """Sync a folder, so that renames in it survive a power failure."""
    file = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(file)
    except OSError:
        pass  # some file systems cannot; the files themselves are synced
    finally:
        os.close(file)


def load_checkpoint(path: PathLike, map_location: str = "cpu") -> Dict[str, Any]:
    """Read a checkpoint; no code in it is executed.

    Raises:
        UserError: missing, damaged, or not one of ours.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path}: no such checkpoint; pre-train first (stage 4) or give another path")
    recorded = Path(f"{path}.sha256")
    if recorded.is_file() and recorded.read_bytes().split()[:1] != [file_hash(path).encode()]:
        raise UserError(f"{path}: damaged: its checksum differs from {recorded.name}; use another checkpoint")
    try:
        content = torch.load(path, map_location=map_location, weights_only=True)
    except Exception as error:  # torch raises many error types for a damaged file
        # Do not show torch's message: it suggests weights_only=False, which would execute code in a hostile file.
        raise UserError(
            f"{path}: not a readable checkpoint ({type(error).__name__}); it is damaged, or another kind of file"
        ) from None
    if (
        not isinstance(content, dict)
        or not all(isinstance(content.get(key), dict) for key in ("config", "model"))
        or not _weights(content["model"])
    ):
        raise UserError(f"{path}: not a checkpoint of this toolkit (no 'config' and 'model' in it)")
    if not _plain(content["config"]):
        raise UserError(
            f"{path}: its configuration holds values that YAML cannot express; it was not written by this toolkit"
        )
    return content


def _plain(value: Any) -> bool:
    if isinstance(value, dict):
        return all(isinstance(key, str) and _plain(below) for key, below in value.items())
    if isinstance(value, (list, tuple)):
        return all(map(_plain, value))
    return value is None or isinstance(value, (str, int, float))


def _weights(model: Dict[Any, Any]) -> bool:
    return all(isinstance(key, str) and isinstance(value, torch.Tensor) for key, value in model.items())


def fitting(own: Any, saved: Any) -> Any:
    """Return ``saved`` if it has the structure of ``own`` (keys, lengths, types, shapes); keys that only ``own`` has
    keep their values.

    Raises:
        ValueError: the structures differ; loading would fail later, in the middle of a step.
    """
    if isinstance(own, dict) and isinstance(saved, dict):
        return {key: fitting(value, saved[key]) for key, value in own.items() if key in saved}
    if isinstance(own, (list, tuple)) and isinstance(saved, (list, tuple)) and len(own) == len(saved):
        return [fitting(first, second) for first, second in zip(own, saved)]
    if isinstance(own, torch.Tensor) and isinstance(saved, torch.Tensor) and own.shape == saved.shape:
        return saved
    if isinstance(own, (int, float)) and isinstance(saved, (int, float)):
        return saved
    if own is None or (type(own) is type(saved) and not isinstance(own, (dict, list, tuple, torch.Tensor))):
        return saved
    raise ValueError(f"{type(saved).__name__} in place of {type(own).__name__}")


def resume_checkpoint(folder: PathLike) -> Optional[Dict[str, Any]]:
    """Read ``last.pt`` or, if that is damaged, ``previous.pt``; None if there is neither.

    A damaged ``last.pt`` is renamed to ``last.pt.damaged``, so that the next checkpoint does not move it over the
    intact ``previous.pt``.

    Raises:
        UserError: there are checkpoints but none can be read; starting over would overwrite the rest of the run.
    """
    found = [path for path in (Path(folder) / "last.pt", Path(folder) / "previous.pt") if path.is_file()]
    for number, path in enumerate(found):
        try:
            content = load_checkpoint(path)
        except UserError as error:
            print(f"warning: {error}", file=sys.stderr)
            continue
        for damaged in found[:number]:
            os.replace(damaged, f"{damaged}.damaged")
            Path(f"{damaged}.sha256").unlink(missing_ok=True)
        return content
    if found:
        raise UserError(
            f"{folder}: no checkpoint can be read; delete this folder to start over, or restore one of "
            f"{', '.join(p.name for p in found)}"
        )
    return None


def rotate_last(folder: PathLike) -> None:
    """Keep the current ``last.pt`` as ``previous.pt``; if the process is killed in between, one stays readable."""
    if not (Path(folder) / "last.pt").is_file():
        return  # a checksum without its checkpoint belongs to another one
    (Path(folder) / "previous.pt.sha256").unlink(missing_ok=True)
    for suffix in ("", ".sha256"):
        path = Path(folder) / f"last.pt{suffix}"
        if path.is_file():
            os.replace(path, Path(folder) / f"previous.pt{suffix}")
