#!/usr/bin/env python3
"""run.py: runs jobs on this machine, one per CPU or GPU at a time."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from typing import Dict, List, Sequence

import launcher
import processes


def run(arguments: Sequence[str]) -> int:
    request = launcher.parse(arguments)
    pool = processes.Pool(places(request), lambda job, place: start(request, job, place))
    return processes.run_and_report("run.py", request.jobs(), pool)


def places(request: launcher.Request) -> List[str]:
    """One entry per job that may run at the same time: its GPUs, or an empty string."""
    threads = request.count("num-threads", 1)
    wanted = request.count("gpu", 0)
    shares = [""] * max(1, _cpu_count() // threads)
    if wanted:
        gpus = visible_gpus()
        if len(gpus) < wanted:
            print(
                f"run.py: --gpu {wanted}, but {len(gpus)} are visible; running one job at a time",
                file=sys.stderr,
            )
            shares = [",".join(gpus)]
        else:
            starts = range(0, len(gpus) - wanted + 1, wanted)
            shares = [",".join(gpus[i : i + wanted]) for i in starts]
    if "max-jobs-run" not in request.options:
        return shares
    limit = request.count("max-jobs-run", 1)
    return shares[:limit] if wanted else [""] * limit


def _cpu_count() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def visible_gpus() -> List[str]:
    """The GPUs that this process may use, named as in CUDA_VISIBLE_DEVICES."""
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is not None:
        return [name for name in chosen.split(",") if name.strip()]
    if shutil.which("nvidia-smi") is None:
        return []
    listing = subprocess.run(["nvidia-smi", "-L"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    count = sum(line.startswith("GPU ") for line in listing.stdout.splitlines())
    return [str(index) for index in range(count)]


def start(request: launcher.Request, job: launcher.Job, gpus: str) -> processes.Start:
    environment: Dict[str, str] = dict(os.environ)
    if gpus:
        environment["CUDA_VISIBLE_DEVICES"] = gpus
    if "num-threads" in request.options:
        environment["OMP_NUM_THREADS"] = request.options["num-threads"]
    return processes.Start(launcher.argv(job.command), environment)


if __name__ == "__main__":
    sys.exit(launcher.main("run.py", __doc__, run))
