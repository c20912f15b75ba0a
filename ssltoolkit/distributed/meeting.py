"""How the processes of one start find each other in a store that may still hold what an earlier start left there.

After a failure torchrun starts all processes again with the store of the first start (torch 2.13; earlier versions had
a prefix for each attempt). Its back ends keep addresses there under the same names, so a process that is quicker than
its peers would read the address of one that is dead, and fail or wait in vain."""

from __future__ import annotations

import secrets
import time

import torch.distributed as dist

POLL_S = 0.02


def fresh_store(store: dist.Store, rank: int, size: int, timeout: float) -> dist.Store:
    """The part of ``store`` that this start has for itself.

    The main process draws its name and tells it to every process that asks under a name of its own, until all have
    answered under the new name; what earlier processes asked and answered has other names.

    Args:
        store: shared by all processes. rank, size: of this process, and how many there are.
        timeout: seconds to wait for the others.

    Raises:
        TimeoutError: not all came.
    """
    own, deadline = secrets.token_hex(8), time.monotonic() + timeout
    if rank == 0:
        missing = set(range(1, size))
        while missing:
            missing -= {other for other in missing if store.check([_answer(own, other)])}
            for other in missing:
                if store.check([_question(other)]):
                    store.set(_reply(store.get(_question(other)).decode()), own)
            _pause(deadline, missing)
        return dist.PrefixStore(own, store)
    store.set(_question(rank), own)
    while not store.check([_reply(own)]):
        _pause(deadline, {0})
    name = store.get(_reply(own)).decode()
    store.set(_answer(name, rank), "")
    return dist.PrefixStore(name, store)


def _question(rank: int) -> str:
    return f"ssltoolkit/{rank} asks"


def _reply(asking: str) -> str:
    return f"ssltoolkit/told to {asking}"


def _answer(name: str, rank: int) -> str:
    return f"ssltoolkit/{name} known to {rank}"


def _pause(deadline: float, missing: set) -> None:
    """Sleep in Python, where a signal's handler runs at once, unlike in a wait of the store."""
    if not missing:
        return
    if time.monotonic() > deadline:
        raise TimeoutError(f"process {', '.join(map(str, sorted(missing)))} did not come")
    time.sleep(POLL_S)
