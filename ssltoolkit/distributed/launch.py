"""Start the processes of a run on this machine with torch's elastic launcher, on which ``torchrun`` is based."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from typing import Any, List, Sequence

from joblib import cpu_count

from ssltoolkit.errors import UserError

#: default rendezvous port, if MASTER_PORT is not set
PORT = 29500


def launch(program: Sequence[str], per_node: int, nodes: int, max_restarts: int, resume_status: int) -> int:
    """Run ``python program...`` in ``per_node`` processes on each of ``nodes`` machines; returns an exit status.

    If one process fails, all are ended; if restarts are left, all are started again and continue.

    Args:
        program: arguments of the interpreter.
        per_node: processes per machine.
        nodes: number of machines; in a Slurm allocation one launcher is started on each, otherwise the user does so.
        max_restarts: number of restarts.
        resume_status: exit status of a run that was stopped by a signal and can be continued.

    Raises:
        UserError: several machines without a rendezvous address.
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
    # Forward pre-emption signals to the processes, which save a checkpoint; then this launcher ends too.
    os.environ.setdefault("TORCHELASTIC_SIGNALS_TO_HANDLE", "SIGTERM,SIGINT,SIGHUP,SIGQUIT")
    signal.signal(signal.SIGUSR1, lambda number, frame: os.kill(os.getpid(), signal.SIGTERM))
    try:
        elastic_launch(config, sys.executable)(*program)
    except SignalException as stop:
        print(f"stopped by {stop.sigval.name}; run the same command again to continue", flush=True)
        return resume_status
    except ChildFailedError as failed:
        return _report_failure(failed, resume_status)
    return 0


def _report_failure(failed: Any, resume_status: int) -> int:
    """Report which process ended the run and how; returns the exit status."""
    status = 1
    for rank, failure in sorted(failed.failures.items()):
        code = failure.exitcode
        if code == resume_status:
            return resume_status  # the process has printed the reason
        if code == 2:
            status = 2  # the process has printed the error
            continue
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with status {code}"
        print(
            f"ssltoolkit: process {rank} (pid {failure.pid}) {how}; the others were ended; run the same command again "
            "to continue",
            file=sys.stderr,
        )
    return status


def _run_id() -> str:
    """Run id, the same on every machine of a run."""
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
    """Whether this is the batch script of a Slurm allocation, which has to start the other launchers."""
    return "SLURM_JOB_NODELIST" in os.environ and "SSLTOOLKIT_NODE" not in os.environ


def _on_every_node(program: Sequence[str], nodes: int) -> int:
    """Repeat this command once on each machine of the allocation."""
    for program_name in ("scontrol", "srun"):
        if shutil.which(program_name) is None:  # probably inside a container
            raise UserError(
                f"--num_nodes {nodes}: {program_name} was not found in this Slurm job; start the run outside the "
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
    """Divide this machine's CPU threads among its processes."""
    threads = int(os.environ.get("OMP_NUM_THREADS") or cpu_count())
    os.environ["OMP_NUM_THREADS"] = str(max(1, threads // processes))
