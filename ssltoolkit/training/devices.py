"""Choice of the device that a process computes on."""

from __future__ import annotations

import os

import torch

from ssltoolkit.distributed.collectives import launched, local_rank
from ssltoolkit.errors import UserError


def choose_device(name: str) -> torch.device:
    """The device of this name; ``auto`` is the GPU if there is one.

    Raises:
        UserError: no such device.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        probe = torch.zeros(1, device=name)
        probe.item()  # fails on "meta", which has no data
        return probe.device
    except (RuntimeError, AssertionError, ImportError) as error:
        raise UserError(f"training.device: {name!r} cannot be used: {str(error).splitlines()[0]}") from None


def check_gpus(name: str, processes: int) -> None:
    """Refuse more GPU processes than the machine has GPUs. Initialises no GPU.

    Args:
        name: ``training.device``.
        processes: number of processes on this machine.

    Raises:
        UserError: more processes than GPUs.
    """
    if not name.startswith("cuda") and not (name == "auto" and torch.cuda.is_available()):
        return
    there = torch.cuda.device_count()
    if processes > there:
        raise UserError(
            f"--ngpu {processes}: {there} GPU(s) visible "
            f"(CUDA_VISIBLE_DEVICES={os.environ.get('CUDA_VISIBLE_DEVICES', 'not set')}); "
            "give a smaller --ngpu, or --set training.device=cpu"
        )


def own_device(name: str) -> torch.device:
    """The device of this process; of several processes on one machine, each gets its own GPU.

    Args:
        name: ``training.device``.

    Raises:
        UserError: no such device, or fewer GPUs than processes.
    """
    device = choose_device(name)
    if device.type != "cuda" or not launched():
        return device
    if local_rank() >= torch.cuda.device_count():
        raise UserError(
            f"process {local_rank()} of this machine has no GPU ({torch.cuda.device_count()} visible); start fewer "
            "processes"
        )
    return torch.device("cuda", local_rank())
