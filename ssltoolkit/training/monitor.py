"""What is watched while training: logs, embedding collapse, progress."""

from __future__ import annotations

import json
import math
import os
import sys
import time
from pathlib import Path
from typing import Any, Dict, Optional, Union

import torch
from torch import Tensor

PathLike = Union[str, Path]


def embedding_statistics(frames: Tensor, limit: int = 2048) -> Dict[str, float]:
    """Spread of frame embeddings, to see a collapse coming.

    Args:
        frames: (B, T', D); at most ``limit`` of the B * T' embeddings are used.

    Returns:
        ``embedding_std``: mean over dimensions of the standard deviation; ``effective_rank``: exponential of the
        entropy of the normalised singular values of the centred embeddings (Roy and Vetterli 2007).
    """
    flat = frames.reshape(-1, frames.shape[-1]).float()
    flat = flat[:: max(1, flat.shape[0] // limit)]
    centred = flat - flat.mean(0)
    # Singular values from the smaller Gram matrix: D x D costs far less than a decomposition of N x D.
    gram = centred.T @ centred if centred.shape[0] > centred.shape[1] else centred @ centred.T
    singular = torch.linalg.eigvalsh(gram.double()).clamp_min(0.0).sqrt()
    share = singular / singular.sum().clamp_min(1e-12)
    entropy = -(share * share.clamp_min(1e-12).log()).sum().item()
    return {"embedding_std": flat.std(0).mean().item(), "effective_rank": math.exp(entropy)}


class TrainLog:
    """Scalars by step, as JSON lines (``train_log.jsonl``) and for TensorBoard.

    Lines beyond ``resume_step`` come from a run that was cut off after its last checkpoint; they will be written again,
    so they are dropped here.

    Args:
        folder: of the experiment.
        resume_step: step the run continues from.
        enabled: False on all but the first process.
    """

    def __init__(self, folder: PathLike, resume_step: int = 0, enabled: bool = True) -> None:
        self.path, self.enabled = Path(folder) / "train_log.jsonl", enabled
        self._writer = None
        if not enabled:
            return
        self._truncate(resume_step)
        self._stream = open(self.path, "a", encoding="utf-8")
        from tensorboardX import SummaryWriter

        self._writer = SummaryWriter(str(Path(folder) / "tensorboard"), purge_step=resume_step + 1)

    def _truncate(self, resume_step: int) -> None:
        if not self.path.is_file():
            return
        kept = []
        for line in self.path.read_text(encoding="utf-8").splitlines():
            try:
                if json.loads(line)["step"] <= resume_step:
                    kept.append(line)
            except (ValueError, KeyError):
                continue  # the half-written line of a killed run
        temporary = self.path.with_name(self.path.name + ".tmp")
        temporary.write_text("".join(line + "\n" for line in kept), encoding="utf-8")
        temporary.replace(self.path)

    def write(self, step: int, split: str, scalars: Dict[str, float]) -> None:
        """One line for ``split`` (train or valid) at ``step``."""
        if not self.enabled:
            return
        values = {key: float(f"{value:.6g}") for key, value in scalars.items()}
        self._stream.write(json.dumps({"step": step, "split": split, **values}) + "\n")
        self._stream.flush()
        for key, value in values.items():
            self._writer.add_scalar(f"{split}/{key}", value, step)

    def sync(self) -> None:
        """Bring what was written to the disk, before a checkpoint that counts on it."""
        if self.enabled:
            os.fsync(self._stream.fileno())

    def close(self) -> None:
        """Flush both logs."""
        if self.enabled:
            self._stream.close()
            self._writer.close()


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
        """Step ``step`` is done."""
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
        """Leave the bar as it is."""
        if self._bar is not None:
            self._bar.close()
