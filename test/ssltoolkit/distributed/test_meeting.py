"""Restarted processes find each other and ignore what an earlier start left in the store."""

import subprocess
import sys
import threading
import time

import pytest
import torch.distributed as dist

from ssltoolkit.distributed.meeting import fresh_store

MEET = """
import torch
from ssltoolkit.distributed.collectives import process_group, summed
with process_group(torch.device("cpu")):
    print(summed(torch.ones(1)).item())
"""


def names(store, ranks, size, delay=0.0):
    """Start ``ranks`` in this order, ``delay`` s apart; each writes ``from<rank>``. Returns the store of each rank."""
    found = {}

    def meet(rank):
        own = fresh_store(store, rank, size, 20.0)
        own.set(f"from{rank}", "x")
        found[rank] = own

    threads = [threading.Thread(target=meet, args=(rank,)) for rank in ranks]
    for thread in threads:
        thread.start()
        time.sleep(delay)
    for thread in threads:
        thread.join(20.0)
    return found


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 0, 2)])
def test_every_start_has_names_of_its_own(order):
    store = dist.HashStore()
    first = names(store, (0, 1, 2), 3)
    again = names(store, order, 3, delay=0.05)
    for found in (first, again):
        assert len(found) == 3 and all(one.check([f"from{rank}"]) for one in found.values() for rank in range(3))
    first[0].set("address", "of a dead process")
    assert not any(one.check(["address"]) for one in again.values())


def test_who_asked_and_died_is_not_taken_for_its_successor():
    store = dist.HashStore()
    with pytest.raises(TimeoutError, match="process 0 did not join"):
        fresh_store(store, 1, 2, 0.0)
    with pytest.raises(TimeoutError, match="process 1 did not join"):
        fresh_store(store, 0, 2, 0.2)  # answers the dead process and keeps waiting
    assert len(names(store, (1, 0), 2, delay=0.05)) == 2


def test_a_second_start_with_the_store_of_the_first(start_processes, tmp_path, port):
    """torchrun's agent keeps the store after a failure. In the second start, the process that reads addresses starts
    before the one that writes them.
    """
    (tmp_path / "meet.py").write_text(MEET)
    serve = f"import sys, torch.distributed as d; s = d.TCPStore('127.0.0.1', {port}, is_master=True, wait_for_workers=False); print('up', flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", serve], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as agent:
        assert agent.stdout.readline() == "up\n"
        shared = {"TORCHELASTIC_USE_AGENT_STORE": "True", "MASTER_PORT": str(port)}
        for late in (0.0, 1.5):
            code = f"import time, runpy; time.sleep({late} * (__import__('os').environ['RANK'] == '0')); runpy.run_path('meet.py')"
            for process in start_processes(2, "-c", code, env=shared):
                output, _ = process.communicate(timeout=60)
                assert process.returncode == 0 and output == "2.0\n", output
        agent.stdin.close()
