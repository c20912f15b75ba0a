"""Start the processes of a run on this machine, through torch's elastic launcher (what ``torchrun`` is made of)."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from typing import Any, List, Sequence

from ssltoolkit.errors import UserError

#: the port at which machines meet, unless MASTER_PORT says another
PORT = 29500


def launch(program: Sequence[str], per_node: int, nodes: int, max_restarts: int, resume_status: int) -> int:
    """Run ``python program...`` in ``per_node`` processes on each of ``nodes`` machines; returns an exit status.

    One process that ends badly ends them all; with restarts left they are then started again and continue.

    Args:
        program: arguments of the interpreter.
        per_node: processes a machine.
        nodes: machines; within a Slurm allocation one launcher is started on each, elsewhere the user does so.
        max_restarts: how often the processes are started again.
        resume_status: exit status of a run that was stopped by a signal and can be continued.

    Raises:
        UserError: several machines without a meeting point.
    """
    if nodes > 1 and _is_batch_shell():
        return _on_every_node(program, nodes)
    from torch.distributed.elastic.multiprocessing.api import DefaultLogsSpecs, SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    _share_threads(per_node)
    config = LaunchConfig(
        min_nodes=nodes,
        max_nodes=nodes,
        nproc_per_node=per_node,
        run_id=_run_id(),
        rdzv_backend="c10d",
        rdzv_endpoint=_meeting_point(nodes),
        max_restarts=max_restarts,
        monitor_interval=0.5,
        logs_specs=DefaultLogsSpecs(),
    )
    # Pre-emption must reach the processes, which save, and then end this launcher too.
    os.environ.setdefault("TORCHELASTIC_SIGNALS_TO_HANDLE", "SIGTERM,SIGINT,SIGHUP,SIGQUIT")
    signal.signal(signal.SIGUSR1, lambda number, frame: os.kill(os.getpid(), signal.SIGTERM))
    try:
        elastic_launch(config, sys.executable)(*program)
    except SignalException as stop:
        print(f"stopped by {stop.sigval.name}; run the same command again to continue", flush=True)
        return resume_status
    except ChildFailedError as failed:
        return _told(failed, resume_status)
    return 0


def _told(failed: Any, resume_status: int) -> int:
    """Say which process ended the run and how; returns the exit status for it."""
    status = 1
    for rank, failure in sorted(failed.failures.items()):
        code = failure.exitcode
        if code == resume_status:
            return resume_status  # it has said why
        if code == 2:
            status = 2  # so has this
            continue
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with status {code}"
        print(
            f"ssltoolkit: process {rank} (pid {failure.pid}) {how}; the others were ended; run the same command again "
            "to continue",
            file=sys.stderr,
        )
    return status


def _run_id() -> str:
    """The same on every machine of one run."""
    return (
        os.environ.get("SLURM_JOB_ID")
        or os.environ.get("TORCHELASTIC_RUN_ID")
        or str(os.getpid() if "MASTER_ADDR" not in os.environ else PORT)
    )


def _meeting_point(nodes: int) -> str:
    if nodes == 1:
        return "localhost:0"
    host = os.environ.get("MASTER_ADDR")
    if not host:
        raise UserError(
            "--num_nodes: set MASTER_ADDR to the first machine's name and run the same command on every machine "
            "(Slurm needs neither)"
        )
    return f"{host}:{os.environ.get('MASTER_PORT', PORT)}"


def _is_batch_shell() -> bool:
    """Whether this is the one process of a Slurm allocation that has to start the others."""
    return "SLURM_JOB_NODELIST" in os.environ and "SSLTOOLKIT_NODE" not in os.environ


def _on_every_node(program: Sequence[str], nodes: int) -> int:
    """Repeat this command once on each machine of the allocation."""
    for program_name in ("scontrol", "srun"):
        if shutil.which(program_name) is None:  # a container, most likely
            raise UserError(
                f"--num_nodes {nodes}: {program_name} is not to be found in this Slurm job; start the run outside the "
                "container, with srun"
            )
    listed = subprocess.run(
        ["scontrol", "show", "hostnames", os.environ["SLURM_JOB_NODELIST"]],
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    hosts = listed.stdout.split()
    if len(hosts) < nodes:
        raise UserError(f"--num_nodes {nodes}: the Slurm allocation has {len(hosts)} machine(s)")
    environment = {**os.environ, "SSLTOOLKIT_NODE": "1", "MASTER_ADDR": hosts[0]}
    command: List[str] = [
        "srun",
        f"--nodes={nodes}",
        f"--ntasks={nodes}",
        "--ntasks-per-node=1",
        "--kill-on-bad-exit=1",
    ]
    process = subprocess.Popen([*command, sys.executable, *program], env=environment)
    for number in (signal.SIGTERM, signal.SIGUSR1):  # srun passes signals on to its tasks
        signal.signal(number, lambda got, frame: process.send_signal(got))
    return process.wait()


def _share_threads(processes: int) -> None:
    """Divide this machine's share of CPU threads among its processes."""
    threads = int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count() or 1)
    os.environ["OMP_NUM_THREADS"] = str(max(1, threads // processes))
