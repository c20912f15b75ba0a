"""Runs jobs as processes on this machine, some at a time, and ends them all on a signal."""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import sys
import threading
import time
from typing import Callable, Dict, List, NamedTuple, Optional, Sequence, Set

import launcher

# After Ctrl-C a training run has this long to write its checkpoint before it is terminated.
GRACE_SECONDS = 30.0
# Exit status of a job that saved its state; running the same command again continues it.
RESUME = 75
LAST_SECONDS = 5.0


class Start(NamedTuple):
    """How to start one job."""

    argv: List[str]
    environment: Dict[str, str]


class Pool:
    """Runs each job on one of `places` (a GPU share, ...), one job a place at a time.

    `start(job, place)` returns what to execute. Output goes to the job's log. The first signal
    (INT, TERM, HUP, USR1) is forwarded to all jobs and no new job starts; jobs that do not end
    are terminated and finally killed. A second signal kills them immediately.
    """

    def __init__(self, places: Sequence[object], start: Callable[[launcher.Job, object], Start]) -> None:
        self.places = list(places)
        self.start = start
        self.processes: Dict[int, subprocess.Popen] = {}
        self.lock = threading.Lock()
        self.signal: Optional[int] = None
        self.signalled: Set[int] = set()  # processes that have received the first signal
        self.pressed = False

    def run(self, jobs: Sequence[launcher.Job]) -> List[Optional[int]]:
        """Runs all jobs; returns their exit codes, None for those that never started."""
        codes: List[Optional[int]] = [None] * len(jobs)
        waiting: "queue.SimpleQueue[int]" = queue.SimpleQueue()
        for index in range(len(jobs)):
            waiting.put(index)
        workers = [
            threading.Thread(target=self._work, args=(place, jobs, waiting, codes), daemon=True)
            for place in self.places[: len(jobs)]
        ]
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1):
            signal.signal(number, self._on_signal)
        for worker in workers:
            worker.start()
        deadline = None
        while any(worker.is_alive() for worker in workers):
            for worker in workers:
                worker.join(0.05)  # short, because Python runs signal handlers in between
            deadline = self._press(deadline)
        return codes

    def _work(self, place, jobs, waiting, codes) -> None:
        while self.signal is None:
            try:
                index = waiting.get_nowait()
            except queue.Empty:
                return
            codes[index] = self._run_one(jobs[index], place)

    def _run_one(self, job: launcher.Job, place: object) -> int:
        began = time.monotonic()
        plan = self.start(job, place)
        with job.begin_log() as log:
            log.write(launcher.log_head(job.command).encode("utf-8", "surrogateescape"))
            log.flush()
            code = self._execute(plan, log)
        # append, because the job may have opened its log itself
        with open(job.log, "ab") as log:
            log.write(launcher.log_foot(code, time.monotonic() - began).encode())
        return code

    def _execute(self, plan: Start, log) -> int:
        with self.lock:
            if self.signal is not None:
                return 128 + self.signal
            try:
                # Start a new session, so that signals also reach the job's children.
                process = subprocess.Popen(
                    plan.argv, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
                    env=plan.environment, start_new_session=True,
                )  # fmt: skip
            except OSError as error:
                log.write(f"{plan.argv[0]}: cannot be run ({error.strerror})\n".encode())
                return 127
            self.processes[process.pid] = process
        code = process.wait()
        if self.signal is not None:
            # Kill remaining processes of the job, such as background children that ignore Ctrl-C.
            _signal_group(process.pid, signal.SIGKILL)
        with self.lock:
            del self.processes[process.pid]
        return 128 - code if code < 0 else code

    def _on_signal(self, number: int, _frame) -> None:
        again = self.signal is not None
        self.signal = number
        if not again:
            self._tell(list(self.processes))
            return
        for pid in list(self.processes):
            _signal_group(pid, signal.SIGKILL)

    def _tell(self, pids: Sequence[int]) -> None:
        """Forwards the first signal, once: a second Ctrl-C would make a training run stop immediately."""
        for pid in pids:
            if pid not in self.signalled:
                self.signalled.add(pid)
                _signal_group(pid, self.signal)

    def _press(self, deadline: Optional[float]) -> Optional[float]:
        """Terminates, later kills, jobs that do not end after the signal; returns the next deadline."""
        if self.signal is None:
            return None
        now = time.monotonic()
        if deadline is None:
            # A job started while the signal arrived may have missed it.
            with self.lock:
                self._tell(list(self.processes))
            return now + GRACE_SECONDS
        if now < deadline:
            return deadline
        harder = signal.SIGTERM if not self.pressed else signal.SIGKILL
        self.pressed = True
        self._signal_all(harder)
        return now + LAST_SECONDS

    def _signal_all(self, number: int) -> None:
        with self.lock:
            pids = list(self.processes)
        for pid in pids:
            _signal_group(pid, number)


def _signal_group(pid: int, number: int) -> None:
    try:
        os.killpg(pid, number)
    except (ProcessLookupError, PermissionError):
        pass  # the process has already ended


def run_and_report(program: str, jobs: Sequence[launcher.Job], pool: Pool) -> int:
    """Runs `jobs` in `pool`, reports failures, and returns the launcher's exit status."""
    launcher.make_log_folders(jobs)
    codes = pool.run(jobs)
    if pool.signal is not None:
        unfinished = sum(code != 0 for code in codes)
        name = signal.Signals(pool.signal).name
        print(
            f"{program}: stopped by {name}; {unfinished} of {len(jobs)} jobs unfinished",
            file=sys.stderr,
        )
        return RESUME if RESUME in codes else 128 + pool.signal
    return launcher.report(program, jobs, codes)
