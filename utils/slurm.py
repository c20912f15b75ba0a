#!/usr/bin/env python3
"""slurm.py: submits jobs to Slurm and waits for them.

--gpu, --mem, --num-threads, --num-nodes, --time, --partition and --name become options of
sbatch. A site's own needs go into conf/slurm.conf (or --config FILE), lines of the form

  command sbatch --account=my_account     # the command to submit with
  default mem=4G                          # default of an option
  option gpu=0 --partition=cpu            # for exactly this value
  option gpu=* --partition=gpu --gres=gpu:$0    # for any other value, which replaces $0
"""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Dict, List, NamedTuple, Optional, Sequence

import launcher

CONFIG = Path("conf/slurm.conf")
# Longest wait for the log of a finished job to appear on a network file system, seconds.
LOG_SECONDS = 60.0

TEMPLATES = {
    "gpu": "--gres=gpu:$0",
    "mem": "--mem=$0",
    "name": "--job-name=$0",
    "num-nodes": "--nodes=$0",
    "num-threads": "--cpus-per-task=$0",
    "partition": "--partition=$0",
    "time": "--time=$0",
}

SCRIPT = """#!/usr/bin/env bash
cd {folder} || exit 1
[ ! -f path.sh ] || . ./path.sh || exit 1
{job}log={log}
{{
{gap}{head}
    echo "# Started at $(date)"
    echo "#"
}} {begin}"$log"
began=$SECONDS
( exec {command} ) </dev/null >>"$log" 2>&1 &
child=$!
# sbatch --signal=B:USR1@60 signals only this shell: forward it, so that the job saves its state.
for name in TERM USR1; do trap "kill -$name $child 2>/dev/null" "$name"; done
wait "$child"
code=$?
while kill -0 "$child" 2>/dev/null; do
    wait "$child"
    code=$?
done
echo "# Ended (code $code) at $(date), elapsed time $((SECONDS - began)) seconds" >>"$log"
exit "$code"
"""


class Site(NamedTuple):
    """`conf/slurm.conf`: the submit command, default options, and `name=value` templates."""

    command: List[str]
    defaults: Dict[str, str]
    templates: Dict[str, str]


class Submission(NamedTuple):
    """Slurm's job number (empty if rejected), sbatch's exit code, the received signal."""

    identifier: str
    code: int
    stopped: Optional[int]


def run(arguments: Sequence[str]) -> int:
    path = launcher.parse(arguments, known=None).options.get("config", CONFIG)
    site = read_site(Path(path))
    names = {key.partition("=")[0] for key in site.templates}
    request = launcher.parse(arguments, sorted(names.union(launcher.OPTIONS)))
    jobs = request.jobs()
    launcher.make_log_folders(jobs)
    sizes = [0] * len(jobs)
    for index, job in enumerate(jobs):
        if not job.append:
            job.log.unlink(missing_ok=True)
        elif job.log.exists():
            sizes[index] = job.log.stat().st_size
    script = write_script(request, jobs)
    submission = submit_and_wait(sbatch_command(site, request, script))
    if submission.stopped is not None:
        return 128 + submission.stopped
    if not submission.identifier:
        print(f"slurm.py: {site.command[0]} did not accept {script}", file=sys.stderr)
        return submission.code or 1
    return launcher.report("slurm.py", jobs, await_logs(jobs, sizes))


def read_site(path: Path) -> Site:
    """Reads a site configuration, which may be missing if it is the default one.

    Raises UsageError with file and line.
    """
    site = Site(["sbatch"], {}, {})
    if path == CONFIG and not path.is_file():
        return site
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise launcher.UsageError(f"{path}: cannot be read ({error.strerror})") from None
    for number, line in enumerate(lines, 1):
        line = line.split("#", 1)[0].strip()
        kind, _, rest = line.partition(" ")
        setting, _, template = rest.strip().partition(" ")
        name, equals, value = setting.partition("=")
        if kind == "command" and rest.strip():
            site = site._replace(command=shlex.split(rest))
        elif kind == "default" and equals and not template:
            site.defaults[name.replace("_", "-")] = value
        elif kind == "option" and equals:
            site.templates[f"{name.replace('_', '-')}={value}"] = template.strip()
        elif line:
            raise launcher.UsageError(
                f"{path}:{number}: not of the form 'command ...', 'default name=value' or 'option name=value ...'"
            )
    return site


def sbatch_options(site: Site, options: Dict[str, str]) -> List[str]:
    """The sbatch options for a launcher's options."""
    found: List[str] = []
    for name, value in {**site.defaults, **options}.items():
        if name in ("append-log", "config", "max-jobs-run"):
            continue
        template = site.templates.get(f"{name}={value}", site.templates.get(f"{name}=*"))
        if template is None:
            if name == "gpu" and value == "0":
                continue
            template = TEMPLATES.get(name)
        if template is None:
            raise launcher.UsageError(f"--{name} {value}: the configuration has no line 'option {name}=* ...'")
        found += [word.replace("$0", value) for word in shlex.split(template)]
    return found


def sbatch_command(site: Site, request: launcher.Request, script: Path) -> List[str]:
    command = [*site.command, "--wait", "--parsable", *sbatch_options(site, request.options)]
    command.append(f"--output={script.with_suffix('.slurm')}")
    command.append("--open-mode=append")
    if request.variable is not None:
        limit = f"%{request.options['max-jobs-run']}" if "max-jobs-run" in request.options else ""
        command.append(f"--array={request.first}-{request.last}{limit}")
    return [*command, str(script)]


def write_script(request: launcher.Request, jobs: Sequence[launcher.Job]) -> Path:
    """Writes the batch script to q/ next to the logs; returns its path."""
    folder = jobs[0].log.parent / "q"
    folder.mkdir(exist_ok=True)
    stem = Path(request.log).name
    script = folder / (stem[:-4] if stem.endswith(".log") else stem)
    script = script.with_name(script.name + ".sh")
    command = launcher.argv(request.command)
    head = [f"# {line}" for line in launcher.shown(request.command).splitlines()]
    number = f"{request.variable}=$SLURM_ARRAY_TASK_ID\n" if request.variable else ""
    text = SCRIPT.format(
        folder=shlex.quote(os.getcwd()),
        job=number,
        begin=">>" if request.append else ">",
        gap='    [ ! -s "$log" ] || echo\n' if request.append else "",
        log=_quote(request, request.log),
        head="\n".join(f"    echo {_quote(request, line)}" for line in head),
        command=" ".join(_quote(request, argument) for argument in command),
    )
    script.write_text(text, encoding="utf-8", errors="surrogateescape")
    return script


def _quote(request: launcher.Request, text: str) -> str:
    """`text` quoted for bash, except for the job variable, which bash expands."""
    if request.variable is None or request.variable not in text:
        return shlex.quote(text)
    pieces = [shlex.quote(piece) if piece else "" for piece in text.split(request.variable)]
    return f'"${{{request.variable}}}"'.join(pieces)


def submit_and_wait(command: Sequence[str]) -> Submission:
    """Runs `sbatch --wait`; a signal cancels the job."""
    stopped: List[int] = []
    try:
        # Start a new session: Ctrl-C must not end sbatch before the job number is known.
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
    except OSError as error:
        raise launcher.UsageError(f"{command[0]}: cannot be run ({error.strerror})") from None
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda n, _: stopped.append(n))
    identifier = process.stdout.readline().strip().partition(";")[0]
    while process.poll() is None and not stopped:
        time.sleep(0.1)
    if stopped:
        if identifier:
            subprocess.run(["scancel", identifier], check=False)
        process.terminate()
        print(f"slurm.py: stopped; job {identifier or '(no number)'} cancelled", file=sys.stderr)
    return Submission(identifier, process.wait(), stopped[0] if stopped else None)


def await_logs(jobs: Sequence[launcher.Job], sizes: Sequence[int]) -> List[Optional[int]]:
    """The exit codes in the logs; a job without one (for example killed by Slurm) counts as lost.

    The first `sizes` bytes of a log belong to earlier attempts.
    """
    deadline = time.monotonic() + LOG_SECONDS
    while True:
        begun = [job.log.exists() and job.log.stat().st_size > size for job, size in zip(jobs, sizes)]
        codes = [launcher.logged_code(job.log) if new else None for job, new in zip(jobs, begun)]
        # A log with a start but no end belongs to a job that Slurm killed.
        if all(begun) or time.monotonic() > deadline:
            return codes
        time.sleep(1.0)


if __name__ == "__main__":
    sys.exit(launcher.main("slurm.py", __doc__, run))
