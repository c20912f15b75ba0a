"""Monitoring of training: logs, embedding statistics, progress."""

from __future__ import annotations

import contextlib
import json
import math
import os
import sys
import time
from pathlib import Path
from typing import Any, Dict, Optional, Union

import torch
from torch import Tensor

from ssltoolkit.errors import writing

PathLike = Union[str, Path]


def embedding_statistics(frames: Tensor, limit: int = 2048) -> Dict[str, float]:
    """Spread of frame embeddings, to detect collapse.

    Args:
        frames: (B, T', D); at most ``limit`` of the B * T' embeddings are used.

    Returns:
        ``embedding_std``: mean over dimensions of the standard deviation; ``effective_rank``: exponential of the
        entropy of the normalised singular values of the centred embeddings (Roy and Vetterli 2007). Both are NaN if an
        embedding is not finite.

    Example:
        >>> embedding_statistics(torch.ones(2, 10, 4))["embedding_std"]  # collapsed
        0.0
    """
    flat = frames.reshape(-1, frames.shape[-1]).float()
    flat = flat[:: max(1, -(-flat.shape[0] // limit))]
    if not torch.isfinite(flat).all():  # the decomposition would not converge
        return {"embedding_std": math.nan, "effective_rank": math.nan}
    centred = flat - flat.mean(0)
    # Singular values from the smaller Gram matrix: D x D costs far less than a decomposition of N x D.
    gram = centred.T @ centred if centred.shape[0] > centred.shape[1] else centred @ centred.T
    singular = torch.linalg.eigvalsh(gram.double()).clamp_min(0.0).sqrt()
    share = singular / singular.sum().clamp_min(1e-12)
    entropy = -(share * share.clamp_min(1e-12).log()).sum().item()
    return {"embedding_std": flat.std(0).mean().item(), "effective_rank": math.exp(entropy)}


class TrainLog:
    """Scalars by step, as JSON lines (``train_log.jsonl``) and for TensorBoard.

    Lines after ``resume_step`` come from a run that was interrupted after its last checkpoint. They are dropped here,
    because they will be written again.

    Args:
        folder: experiment folder.
        resume_step: step that the run continues from.
        enabled: False on all but the main process.
    """

    def __init__(self, folder: PathLike, resume_step: int = 0, enabled: bool = True) -> None:
        self.path, self.enabled = Path(folder) / "train_log.jsonl", enabled
        if not enabled:
            return
        self._truncate(resume_step)
        with writing(folder):
            self._stream = open(self.path, "a", encoding="utf-8")
            self._curves = _Curves(Path(folder) / "tensorboard", resume_step + 1)

    def _truncate(self, resume_step: int) -> None:
        if not self.path.is_file():
            return
        kept = []
        for line in self.path.read_text(encoding="utf-8").splitlines():
            try:
                if json.loads(line)["step"] <= resume_step:
                    kept.append(line)
            except (ValueError, KeyError, TypeError):
                continue  # the half-written line of a killed run
        temporary = self.path.with_name(self.path.name + ".tmp")
        with writing(temporary):
            temporary.write_text("".join(line + "\n" for line in kept), encoding="utf-8")
        temporary.replace(self.path)

    def write(self, step: int, split: str, scalars: Dict[str, float]) -> None:
        """Write one line for ``split`` (train or valid) at ``step``."""
        if not self.enabled:
            return
        values = {key: float(f"{value:.6g}") for key, value in scalars.items()}
        with writing(self.path):
            self._stream.write(json.dumps({"step": step, "split": split, **values}) + "\n")
            self._stream.flush()
        with writing(self._curves.folder):
            self._curves.add(step, {f"{split}/{key}": value for key, value in values.items()})

    def sync(self) -> None:
        """Sync the log to disk; call before saving a checkpoint that relies on it."""
        if not self.enabled:
            return
        with writing(self.path):
            os.fsync(self._stream.fileno())
        with writing(self._curves.folder):
            self._curves.sync()

    def close(self) -> None:
        """Flush and close both logs."""
        if self.enabled:
            for close in (self._stream.close, self._curves.close):
                # A full disk loses only records after the last checkpoint, which will be written again. Do not let
                # this error hide the one that ended the run.
                with contextlib.suppress(OSError):
                    close()


class _Curves:
    """TensorBoard scalars, written in the caller's thread.

    tensorboardX's SummaryWriter writes from a thread with a queue. Its ``flush`` does not empty the queue, so a run
    killed after a checkpoint loses records; and on a full disk the thread ends and the run waits for the queue forever.

    Args:
        folder: folder of the event files.
        first_step: TensorBoard hides records of an earlier attempt from this step on.
    """

    def __init__(self, folder: Path, first_step: int) -> None:
        from tensorboardX.event_file_writer import EventsWriter
        from tensorboardX.proto.event_pb2 import Event, SessionLog

        self.folder, self._synced = folder, time.monotonic()
        folder.mkdir(exist_ok=True)
        self._events = EventsWriter(str(folder / "events"))
        self._events.write_event(Event(step=first_step, wall_time=time.time(), file_version="brain.Event:2"))
        self._events.write_event(
            Event(step=first_step, wall_time=time.time(), session_log=SessionLog(status=SessionLog.START))
        )

    def add(self, step: int, values: Dict[str, float]) -> None:
        """Add one point to each curve."""
        from tensorboardX.proto.event_pb2 import Event
        from tensorboardX.summary import scalar

        for name, value in values.items():
            self._events.write_event(Event(step=step, wall_time=time.time(), summary=scalar(name, value)))
        if time.monotonic() - self._synced > 30.0:  # so that TensorBoard shows a live run
            self.sync()

    def sync(self) -> None:
        """Sync all records to disk."""
        self._synced = time.monotonic()
        self._events.flush()

    def close(self) -> None:
        """Close the event file."""
        self._events.close()


class Progress:
    """A progress bar on a terminal; a line every ``interval`` seconds in a log file."""

    def __init__(self, total: int, done: int, enabled: bool = True, interval: float = 30.0) -> None:
        self.total, self.enabled, self.interval = total, enabled, interval
        self.first, self.started = done, time.monotonic()
        self.last_line = self.started
        self._bar: Optional[Any] = None
        if enabled and sys.stderr.isatty():
            from tqdm import tqdm

            self._bar = tqdm(total=total, initial=done, unit="step", dynamic_ncols=True)

    def update(self, step: int, text: str) -> None:
        """Report that step ``step`` is done."""
        if self._bar is not None:
            self._bar.set_postfix_str(text, refresh=False)
            self._bar.update(step - self._bar.n)
            return
        now = time.monotonic()
        if self.enabled and (now - self.last_line >= self.interval or step == self.total):
            self.last_line = now
            rate = (step - self.first) / max(1e-9, now - self.started)
            left = (self.total - step) / max(rate, 1e-9)
            print(f"step {step}/{self.total}  {text}  {rate:.2f} steps/s  {left / 60:.1f} min left", flush=True)

    def close(self) -> None:
        """Close the bar; its last state stays visible."""
        if self._bar is not None:
            self._bar.close()
