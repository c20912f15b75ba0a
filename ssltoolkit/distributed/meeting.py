"""Rendezvous of restarted processes in a store that may still contain entries of an earlier start.

After a failure torchrun restarts all processes with the same store (torch 2.13; earlier versions used a prefix per
attempt). Its backends store addresses under the same keys, so a process that starts before its peers would read the
address of a dead process, and fail or hang."""

from __future__ import annotations

import secrets
import time

import torch.distributed as dist

POLL_S = 0.02


def fresh_store(store: dist.Store, rank: int, size: int, timeout: float) -> dist.Store:
    """A prefixed view of ``store`` that only the processes of this start use.

    The main process draws a random prefix. Every process writes a request with a random key; the main process answers
    the requests until all processes have confirmed under the new prefix. Entries of earlier starts have other keys.

    Args:
        store: store shared by all processes. rank, size: rank of this process, and number of processes.
        timeout: seconds to wait for the others.

    Raises:
        TimeoutError: some processes did not join.
    """
    own, deadline = secrets.token_hex(8), time.monotonic() + timeout
    if rank == 0:
        missing = set(range(1, size))
        while missing:
            missing -= {other for other in missing if store.check([_confirmation_key(own, other)])}
            for other in missing:
                if store.check([_request_key(other)]):
                    store.set(_reply_key(store.get(_request_key(other)).decode()), own)
            _pause(deadline, missing)
        return dist.PrefixStore(own, store)
    store.set(_request_key(rank), own)
    while not store.check([_reply_key(own)]):
        _pause(deadline, {0})
    name = store.get(_reply_key(own)).decode()
    store.set(_confirmation_key(name, rank), "")
    return dist.PrefixStore(name, store)


def _request_key(rank: int) -> str:
    return f"ssltoolkit/request of {rank}"


def _reply_key(asking: str) -> str:
    return f"ssltoolkit/reply to {asking}"


def _confirmation_key(name: str, rank: int) -> str:
    return f"ssltoolkit/{name} confirmed by {rank}"


def _pause(deadline: float, missing: set) -> None:
    """Sleep in Python, where signal handlers run immediately, unlike in a wait of the store."""
    if not missing:
        return
    if time.monotonic() > deadline:
        raise TimeoutError(f"process {', '.join(map(str, sorted(missing)))} did not join")
    time.sleep(POLL_S)
