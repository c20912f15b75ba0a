#!/usr/bin/env python3
"""ssh.py: distributes jobs over the hosts in .queue/machines.

The file names one host a line (text after # is a comment); a host named twice runs two jobs
at a time. The hosts must share this working directory and let you in without a password. Each
job runs there in the same directory, after sourcing its path.sh if there is one.
"""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path
from typing import List, Sequence

import launcher
import processes

MACHINES = Path(".queue/machines")
PASSED_ON = ("OMP_NUM_THREADS", "LC_ALL", "PYTHONIOENCODING", "CUDA_VISIBLE_DEVICES")

# The connection's input stays open as long as ssh.py waits: when it closes, because ssh.py or
# the connection ended, the job and its children are ended too.
REMOTE = """cd {folder} || exit 1
{exports}
[ ! -f path.sh ] || . ./path.sh || exit 1
exec 3<&0
setsid {command} </dev/null 3<&- &
job=$!
{{ cat <&3 >/dev/null; kill -TERM -- "-$job"; }} 2>/dev/null &
watcher=$!
exec 3<&-
wait "$job"
code=$?
kill "$watcher" 2>/dev/null
exit "$code"
"""


def run(arguments: Sequence[str]) -> int:
    request = launcher.parse(arguments)
    hosts = read_machines(MACHINES)
    if "max-jobs-run" in request.options:
        hosts = hosts[: request.count("max-jobs-run", 1)]
    pool = processes.Pool(hosts, lambda job, host: start(request, job, str(host)))
    jobs = request.jobs()
    return processes.run_and_report("ssh.py", jobs, pool)


def read_machines(path: Path) -> List[str]:
    """The hosts in `path`; raises UsageError if there are none."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise launcher.UsageError(
            f"{path}: cannot be read ({error.strerror}); write one host name a line there"
        ) from None
    hosts = []
    for number, line in enumerate(lines, 1):
        words = line.split("#", 1)[0].split()
        if len(words) > 1 or (words and words[0].startswith("-")):
            raise launcher.UsageError(f"{path}:{number}: '{line}' is not one host name")
        hosts += words
    if not hosts:
        raise launcher.UsageError(f"{path}: names no host; write one host name a line there")
    return hosts


def start(request: launcher.Request, job: launcher.Job, host: str) -> processes.Start:
    environment = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    if "num-threads" in request.options:
        environment["OMP_NUM_THREADS"] = request.options["num-threads"]
    exports = "\n".join(f"export {k}={shlex.quote(v)}" for k, v in environment.items())
    script = REMOTE.format(
        folder=shlex.quote(os.getcwd()),
        exports=exports,
        command=shlex.join(launcher.argv(job.command)),
    )
    remote = f"bash -c {shlex.quote(script)}"
    options = ["-o", "BatchMode=yes", "-o", "ServerAliveInterval=30"]
    return processes.Start(["ssh", *options, host, remote], dict(os.environ), keep_stdin=True)


if __name__ == "__main__":
    sys.exit(launcher.main("ssh.py", __doc__, run))
