"""Faults of a training step and their messages."""

from __future__ import annotations

import statistics
import sys
from collections import deque
from pathlib import Path
from typing import Any, Callable, Deque, Dict, List, Mapping, Optional, Sequence

import torch
from torch import Tensor, nn

from ssltoolkit.data.segments import Batch
from ssltoolkit.errors import UserError, out_of_memory, writing


class RunningStatistics:
    """Running statistics of batch normalisation before a step, to restore if the step is skipped."""

    def __init__(self, model: nn.Module) -> None:
        norms = [module for module in model.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
        self._live = [buffer for norm in norms for buffer in norm.buffers()]
        self._kept = [buffer.clone() for buffer in self._live]

    @torch.no_grad()
    def keep(self) -> None:
        """Store the current statistics."""
        if self._live:
            torch._foreach_copy_(self._kept, self._live)

    @torch.no_grad()
    def restore(self) -> None:
        """Restore the stored statistics."""
        if self._live:
            torch._foreach_copy_(self._live, self._kept)

    @torch.no_grad()
    def restore_unless(self, good: Tensor) -> None:
        """Restore the stored statistics if ``good``, a boolean scalar on the device, is false."""
        for live, kept in zip(self._live, self._kept):
            torch.where(good, live, kept, out=live)


class BadSteps:
    """Counts and lists skipped steps, whose loss or gradient was not finite; too many in a row end the run.

    Args:
        folder: experiment folder; the list is ``nonfinite_batches.txt``.
        allowed: number of consecutive steps that may be skipped.
    """

    def __init__(self, folder: Path, allowed: int) -> None:
        self.path, self.allowed = folder / "nonfinite_batches.txt", allowed
        self.in_a_row, self.total = 0, 0

    def resume(self, step: int, state: Mapping[str, int], write: bool) -> None:
        """Continue from a checkpoint; the writing process drops entries of later steps, which will be repeated."""
        self.in_a_row, self.total = state.get("in_a_row", 0), state.get("total", 0)
        if write and self.path.is_file():
            lines = self.path.read_text(encoding="utf-8").splitlines(keepends=True)
            kept = [line for line in lines if line.endswith("\n") and _step_of(line) <= step]
            temporary = self.path.with_name(self.path.name + ".tmp")
            with writing(temporary):
                temporary.write_text("".join(kept), encoding="utf-8")
            temporary.replace(self.path)

    def state(self) -> Dict[str, int]:
        """State for the checkpoint."""
        return {"in_a_row": self.in_a_row, "total": self.total}

    def add(self, step: int, what: str, utt_ids: Sequence[str], write: bool) -> None:
        """Record a skipped step; only one process writes.

        Raises:
            UserError: too many in a row.
        """
        self.in_a_row += 1
        self.total += 1
        if write:
            with writing(self.path), open(self.path, "a", encoding="utf-8") as out:
                out.write(f"step {step}: {' '.join(utt_ids)}\n")
            print(f"warning: step {step} skipped, {what} (its clips: {self.path})", file=sys.stderr)
        if self.in_a_row > self.allowed:
            raise UserError(
                f"{self.in_a_row} steps in a row without a finite loss, at step {step}; "
                f"lower optimizer.lr or look at the clips in {self.path}"
            )


def _step_of(line: str) -> float:
    number = line.partition(":")[0][len("step ") :]
    return int(number) if number.isascii() and number.isdigit() else float("inf")


class GradientWatch:
    """Warns when gradients explode, that is, when their norm is far above its recent median.

    Args:
        factor: warn above this multiple of the median of the last steps.
    """

    def __init__(self, factor: float = 100.0) -> None:
        self.factor = factor
        self._norms: Deque[float] = deque(maxlen=100)
        self._reported = False

    def warning(self, step: int, norm: float) -> Optional[str]:
        """Warning about a gradient norm; None if it is normal or was already reported."""
        usual = statistics.median(self._norms) if len(self._norms) >= 20 else float("inf")
        exploding, reported = norm > self.factor * usual, self._reported
        self._norms.append(norm)
        self._reported = exploding
        if not exploding or reported:
            return None
        return (
            f"gradients are exploding at step {step}: norm {norm:.3g}, usually {usual:.3g}; "
            "lower optimizer.lr, set training.grad_clip, or use the cosine similarity"
        )


class CollapseWatch:
    """Warns once each time embeddings collapse, and can end the run.

    Args:
        rank: smallest healthy effective rank.
        stop: number of consecutive log lines with collapsed embeddings that ends the run; 0 for never.
    """

    def __init__(self, rank: float, stop: int) -> None:
        self.rank, self.stop, self._in_a_row = rank, stop, 0

    def warning(self, step: int, scalars: Mapping[str, float]) -> Optional[str]:
        """Warning about the embeddings' ``effective_rank`` and ``embedding_std``, or None.

        Raises:
            UserError: collapsed for too long.
        """
        rank, std = scalars["effective_rank"], scalars["embedding_std"]
        if rank >= self.rank and std > 1e-4:
            self._in_a_row = 0
            return None
        self._in_a_row += 1
        figures = f"effective rank {rank:.2f} (warning below {self.rank:g}), standard deviation {std:.3g}"
        fix = "lower optimizer.lr, raise the batch size, or use the cosine similarity"
        if self._in_a_row == self.stop:
            raise UserError(f"embeddings collapsed, reported {self.stop} times up to step {step}: {figures}; {fix}")
        return f"embeddings are collapsing at step {step}: {figures}; {fix}" if self._in_a_row == 1 else None


def fitting_size(batch: Batch, step: Callable[[Batch], Any]) -> int:
    """Largest half, quarter, ... of a batch whose ``step`` (forward and backward) fits into memory; 0 if not even 2
    clips.
    """
    size = len(batch.utt_ids) // 2
    while size >= 2:
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        try:
            step(_first(batch, size))
            return size
        except (RuntimeError, MemoryError) as error:
            if not out_of_memory(error):
                raise
        size //= 2
    return 0


def _first(batch: Batch, size: int) -> Batch:
    waves = {cut: wave[:size] for cut, wave in batch.waves.items()}
    starts = {cut: start[:size] for cut, start in batch.starts.items()}
    ids: List[str] = batch.utt_ids[:size]
    periods = None if batch.periods is None else batch.periods[:size]
    groups = None if batch.groups is None else batch.groups[:size]
    return Batch(waves, starts, batch.seed, ids, periods=periods, groups=groups)


def memory_message(size: int, accumulate: int, fits: int) -> str:
    """Advice when a batch of ``size`` clips ran out of memory and one of ``fits`` (0: unknown) did not."""
    if fits:
        parts = accumulate * -(-size // fits)
        return (
            f"out of memory with training.batch_size {size}; {fits} clips fit: set training.batch_size={fits} "
            f"(and training.accumulate={parts} for as many clips per step)"
        )
    return f"out of memory with training.batch_size {size}; make it smaller, with more processes or a smaller encoder"
