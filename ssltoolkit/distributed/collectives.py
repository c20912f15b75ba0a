"""Processes that train one model together, and what they exchange.

A global batch is divided by rows. Everything random is drawn for the whole batch, every process encodes its own rows,
the heads' outputs are gathered, and every process computes the loss of the whole batch. So loss and gradients are those
of one process whatever the number of processes."""

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
#: longest wait for another process; longer than the loader's, so that a stalled loader is named and not its peers
TIMEOUT_S = 600.0


class LostPeer(Exception):
    """Another process of this run ended or cannot be reached."""


class ReportedByRankZero(UserError):
    """An error that rank 0, the main process, reports; the others end without a word."""


def launched() -> bool:
    """Whether a launcher (torchrun, ``--ngpu``) started this process as one of several."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


def local_rank() -> int:
    """Number of this process on its machine."""
    return int(os.environ.get("LOCAL_RANK", "0"))


def world_size() -> int:
    """Processes of this run."""
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    """Number of this process, 0 for the main one."""
    return dist.get_rank() if dist.is_initialized() else 0


def is_main() -> bool:
    """Whether this process writes logs and checkpoints."""
    return rank() == 0


@contextlib.contextmanager
def process_group(device: torch.device) -> Iterator[None]:
    """Meet the other processes: NCCL between GPUs, gloo between CPUs. Nothing happens in a run of one process."""
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
    except (RuntimeError, TimeoutError) as error:  # the first is what every backend raises, whatever happened
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise LostPeer(f"process {os.environ.get('RANK', '0')} lost contact with the others ({reason})") from None


def gathered_blocks(x: Tensor) -> List[Tensor]:
    """``x`` of every process, all of one shape."""
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
    """Wait until every process is here."""
    any_process(False, device)


def from_main(produce: Callable[[], Value]) -> Value:
    """What ``produce`` returns in the main process, in every process.

    Raises:
        UserError: what ``produce`` raised; :class:`ReportedByRankZero` in the others.
    """
    box: List[Any] = [all_or_raise(lambda: produce() if is_main() else None)]
    if world_size() > 1:
        with _peers():
            dist.broadcast_object_list(box)
    return box[0]


def all_or_raise(produce: Callable[[], Value]) -> Value:
    """What ``produce`` returns here, once no process failed.

    Raises:
        UserError: the first process's error, in the main process; :class:`ReportedByRankZero` in the others.
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
    """Give every process the main one's parameters and buffers."""
    if world_size() == 1:
        return
    with torch.no_grad(), _peers():
        for tensor in (*module.parameters(), *module.buffers()):
            dist.broadcast(tensor.data, 0)


def average_gradients(parameters: Iterable[nn.Parameter], flag: bool) -> bool:
    """Mean of the gradients over the processes, in one exchange; returns whether any process set ``flag``."""
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
        """The rows of this process; None where one process, or every process, takes them all (fewer clips than
        processes).
        """
        if world_size() == 1 or total < world_size():
            return None
        edges = _edges(total)
        return Shard(edges[rank()], edges[rank() + 1], total)

    @property
    def count(self) -> int:
        """Rows of this process."""
        return self.last - self.first

    def take(self, whole: Any) -> Any:
        """This process's rows of an array or tensor with all rows."""
        return whole[self.first : self.last]

    def collect(self, own: Tensor) -> Tensor:
        """All rows, from every process's own; without gradient."""
        edges = _edges(self.total)
        counts = [last - first for first, last in zip(edges, edges[1:])]
        padded = own.new_zeros((max(counts), *own.shape[1:]))
        padded[: self.count] = own
        return torch.cat([block[:count] for block, count in zip(gathered_blocks(padded), counts)])

    def gather(self, own: Tensor) -> Tensor:
        """All rows, with gradients: for a loss that every process computes of the whole batch."""
        return _Gather.apply(own, self)


def _edges(total: int) -> List[int]:
    """First row of each process, and ``total``: shares differ by one row at most."""
    size = world_size()
    return [total * number // size for number in range(size + 1)]


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, own: Tensor, shard: Shard) -> Tensor:
        ctx.shard = shard
        return shard.collect(own)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        # Every process has the whole loss, so the gradient of its rows is complete as it is; what follows adds up over
        # the processes, and the factor makes up for the mean that average_gradients takes.
        return ctx.shard.take(gradient) * world_size(), None


_current: List[Optional[Shard]] = [None]


@contextlib.contextmanager
def sharing(shard: Optional[Shard]) -> Iterator[None]:
    """Let layers inside know which rows of the global batch they see."""
    before, _current[0] = _current[0], shard
    try:
        yield
    finally:
        _current[0] = before


def current_shard() -> Optional[Shard]:
    """The rows that are being computed; None when they are all."""
    return _current[0]
