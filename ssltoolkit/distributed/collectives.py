"""Data-parallel training: process group, collectives and shards of the global batch.

A global batch is divided by rows. All random numbers are drawn for the whole batch, each process encodes its own rows,
the head outputs are gathered, and each process computes the loss of the whole batch. So loss and gradients do not
depend on the number of processes."""

from __future__ import annotations

import contextlib
import datetime
import os
from dataclasses import dataclass
from typing import Any, Callable, Iterable, Iterator, List, Optional, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from ssltoolkit.distributed.meeting import fresh_store
from ssltoolkit.errors import UserError

Value = TypeVar("Value")
#: longest wait for another process; longer than the loader's timeout, so that a stalled loader is reported first
TIMEOUT_S = 600.0


class LostPeer(Exception):
    """Another process of this run ended or cannot be reached."""


class ReportedByRankZero(UserError):
    """An error that rank 0, the main process, reports; the other processes exit silently."""


def launched() -> bool:
    """Whether a launcher (torchrun, ``--ngpu``) started this process as one of several."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


def local_rank() -> int:
    """Index of this process on its machine."""
    return int(os.environ.get("LOCAL_RANK", "0"))


def world_size() -> int:
    """Number of processes of this run."""
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    """Index of this process, 0 for the main process."""
    return dist.get_rank() if dist.is_initialized() else 0


def is_main() -> bool:
    """Whether this process writes logs and checkpoints."""
    return rank() == 0


@contextlib.contextmanager
def process_group(device: torch.device) -> Iterator[None]:
    """Join the process group: NCCL between GPUs, gloo between CPUs. Does nothing in a run of one process."""
    if not launched():
        yield
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    with _peers():
        timeout = datetime.timedelta(seconds=TIMEOUT_S)
        store, number, size = next(dist.rendezvous("env://", timeout=timeout))
        store = fresh_store(store, number, size, TIMEOUT_S)
        dist.init_process_group(
            "nccl" if device.type == "cuda" else "gloo", store=store, rank=number, world_size=size, timeout=timeout
        )
    try:
        yield
    finally:
        dist.destroy_process_group()


@contextlib.contextmanager
def _peers() -> Iterator[None]:
    try:
        yield
    except (RuntimeError, TimeoutError) as error:  # every backend raises RuntimeError for any failure
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise LostPeer(f"process {os.environ.get('RANK', '0')} lost contact with the others ({reason})") from None


def gathered_blocks(x: Tensor) -> List[Tensor]:
    """``x`` of every process; all have the same shape."""
    blocks = [torch.empty_like(x) for _ in range(world_size())]
    with _peers():
        dist.all_gather(blocks, x)
    return blocks


def summed(x: Tensor) -> Tensor:
    """``x`` summed over the processes, in place."""
    if world_size() > 1:
        with _peers():
            dist.all_reduce(x)
    return x


def any_process(flag: bool, device: torch.device) -> bool:
    """Whether ``flag`` is set in any process."""
    return flag if world_size() == 1 else bool(summed(torch.tensor([float(flag)], device=device)).item())


def barrier(device: torch.device) -> None:
    """Wait until every process has reached this call."""
    any_process(False, device)


def from_main(produce: Callable[[], Value]) -> Value:
    """Run ``produce`` in the main process and return its result in every process.

    Raises:
        UserError: raised by ``produce``; :class:`ReportedByRankZero` in the other processes.
    """
    box: List[Any] = [all_or_raise(lambda: produce() if is_main() else None)]
    if world_size() > 1:
        with _peers():
            dist.broadcast_object_list(box)
    return box[0]


def all_or_raise(produce: Callable[[], Value]) -> Value:
    """Run ``produce`` in every process and return its result, unless it failed in any process.

    Raises:
        UserError: the first error, in the main process; :class:`ReportedByRankZero` in the other processes.
    """
    if world_size() == 1:
        return produce()
    produced, failure = None, None
    try:
        produced = produce()
    except UserError as error:
        failure = str(error)
    failures: List[Any] = [None] * world_size()
    with _peers():
        dist.all_gather_object(failures, failure)
    first = next((text for text in failures if text is not None), None)
    if first is None:
        return produced  # type: ignore[return-value]  # no process failed
    raise (UserError if is_main() else ReportedByRankZero)(first)


def broadcast_parameters(module: nn.Module) -> None:
    """Copy the main process's parameters and buffers to every process."""
    if world_size() == 1:
        return
    with torch.no_grad(), _peers():
        for tensor in (*module.parameters(), *module.buffers()):
            dist.broadcast(tensor.data, 0)


def average_gradients(parameters: Iterable[nn.Parameter], flag: bool) -> bool:
    """Average the gradients over the processes in one exchange; returns whether any process set ``flag``."""
    if world_size() == 1:
        return flag
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    flagged = torch.tensor([float(flag)], device=gradients[0].device)
    flat = summed(torch.cat([flagged, *(gradient.reshape(-1) for gradient in gradients)]))
    mean = flat[1:].div_(world_size())
    for gradient, block in zip(gradients, mean.split([gradient.numel() for gradient in gradients])):
        gradient.copy_(block.view_as(gradient))
    return bool(flat[0].item())


@dataclass(frozen=True)
class Shard:
    """This process's rows ``first`` ... ``last - 1`` of a global batch of ``total`` clips."""

    first: int
    last: int
    total: int

    @staticmethod
    def of(total: int) -> Optional["Shard"]:
        """The rows of this process; None if it takes all rows, because there is one process or there are fewer clips
        than processes.
        """
        if world_size() == 1 or total < world_size():
            return None
        edges = _edges(total)
        return Shard(edges[rank()], edges[rank() + 1], total)

    @property
    def count(self) -> int:
        """Number of rows of this process."""
        return self.last - self.first

    def take(self, whole: Any) -> Any:
        """Select this process's rows of an array or tensor with all rows."""
        return whole[self.first : self.last]

    def collect(self, own: Tensor) -> Tensor:
        """Gather all rows from the processes, without gradient."""
        edges = _edges(self.total)
        counts = [last - first for first, last in zip(edges, edges[1:])]
        padded = own.new_zeros((max(counts), *own.shape[1:]))
        padded[: self.count] = own
        return torch.cat([block[:count] for block, count in zip(gathered_blocks(padded), counts)])

    def gather(self, own: Tensor) -> Tensor:
        """Gather all rows with gradients, for a loss that every process computes on the whole batch."""
        return _Gather.apply(own, self)


def _edges(total: int) -> List[int]:
    """First row of each process, then ``total``; shares differ by at most one row."""
    size = world_size()
    return [total * number // size for number in range(size + 1)]


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, own: Tensor, shard: Shard) -> Tensor:
        ctx.shard = shard
        return shard.collect(own)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        # Every process has the whole loss, so the gradient of its rows is already complete. Parameter gradients should
        # be summed over processes; the factor compensates for the mean in average_gradients.
        return ctx.shard.take(gradient) * world_size(), None


_current: List[Optional[Shard]] = [None]


@contextlib.contextmanager
def sharing(shard: Optional[Shard]) -> Iterator[None]:
    """Context in which layers know the rows of the global batch that they process."""
    before, _current[0] = _current[0], shard
    try:
        yield
    finally:
        _current[0] = before


def current_shard() -> Optional[Shard]:
    """The rows being computed; None for all rows."""
    return _current[0]
