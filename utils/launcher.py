"""Shared by run.py and slurm.py: command line, job logs, and failure reports.

The command line is that of Kaldi's run.pl:

  run.py [--gpu N] [--mem 4G] [--num-threads N] [--max-jobs-run N] [--append-log true] [JOB=1:N]
         LOG COMMAND [ARG ...]

With JOB=1:N the command runs N times; `JOB` in LOG and in every argument is replaced by the
number. A single argument is a shell command line (bash, with pipefail); several arguments are
run directly, without a shell. LOG is overwritten, or appended to with --append-log true; it
starts with the command and the start time. Exit status: 0 if every job succeeded; the jobs'
status if all failed with the same one; 1 otherwise; 2 for bad usage.
"""

from __future__ import annotations

import difflib
import os
import re
import shlex
import sys
import time
from pathlib import Path
from typing import BinaryIO, Dict, List, NamedTuple, Optional, Sequence, Tuple

# All launchers accept these options, so that one command line works with each; unsupported ones are ignored.
OPTIONS = (
    "append-log", "config", "gpu", "max-jobs-run", "mem", "name", "num-nodes", "num-threads",
    "partition", "time",
)  # fmt: skip
FLAGS = ("append-log",)
COUNTS = ("gpu", "max-jobs-run", "num-nodes", "num-threads")
SHOWN_LINES = 5


class UsageError(Exception):
    """Bad usage; ends the launcher with status 2."""


class Job(NamedTuple):
    """One run of the command; `number` is None without JOB=."""

    number: Optional[int]
    log: Path
    command: List[str]
    append: bool = False

    def begin_log(self) -> BinaryIO:
        """Opens the log for writing: empty, or after the kept content and a blank line."""
        stream = open(self.log, "ab" if self.append else "wb")
        if stream.tell():
            stream.write(b"\n")
        return stream


class Request(NamedTuple):
    """A parsed command line; `log` and `command` still contain `variable` if there is one."""

    options: Dict[str, str]
    variable: Optional[str]
    first: int
    last: int
    log: str
    command: List[str]

    def count(self, name: str, default: int) -> int:
        """The number given for an option, or `default`."""
        return int(self.options.get(name, default))

    def jobs(self) -> List[Job]:
        """The jobs in order of their number."""
        if self.variable is None:
            return [Job(None, Path(self.log), self.command, self.append)]
        numbers = range(self.first, self.last + 1)
        return [Job(n, Path(self.fill(self.log, n)), self.filled(n), self.append) for n in numbers]

    @property
    def append(self) -> bool:
        """Whether logs keep the output of earlier attempts."""
        return self.options.get("append-log") == "true"

    def fill(self, text: str, value: object) -> str:
        return text.replace(self.variable, str(value)) if self.variable else text

    def filled(self, value: object) -> List[str]:
        return [self.fill(argument, value) for argument in self.command]


def parse(arguments: Sequence[str], known: Optional[Sequence[str]] = OPTIONS) -> Request:
    """Reads a launcher's command line; raises UsageError. `known` None allows any option."""
    rest = list(arguments)
    options: Dict[str, str] = {}
    variable, first, last = None, 1, 1
    while rest and (rest[0].startswith("-") or _reads_as_range(rest[0])):
        if rest[0].startswith("-"):
            name, value, rest = _option(rest, known)
            options[name] = value
            continue
        if variable is not None:
            raise UsageError(f"'{rest[0]}': only one JOB=1:N may be given, before LOG")
        variable, first, last = _job_range(rest.pop(0))
    if len(rest) < 2:
        raise UsageError("give a log file and a command; --help shows the form")
    log, command = rest[0], rest[1:]
    if variable is not None and last > first and variable not in log:
        raise UsageError(f"'{log}': the log must contain {variable}, otherwise the jobs share one file")
    return Request(options, variable, first, last, log, command)


def _option(rest: List[str], known: Optional[Sequence[str]]) -> Tuple[str, str, List[str]]:
    word, equals, value = rest[0].partition("=")
    name = word.lstrip("-").replace("_", "-")
    if known is not None and not (word.startswith("--") and name in known):
        near = difflib.get_close_matches(name, known, 1)
        hint = f" (did you mean --{near[0]}?)" if near else ""
        raise UsageError(f"unknown option {word}{hint}; known are --{', --'.join(known)}")
    if not equals:
        if len(rest) < 2:
            raise UsageError(f"option {word} needs a value")
        value = rest[1]
    if name in FLAGS and value not in ("true", "false"):
        raise UsageError(f"option {word} takes true or false, not '{value}'")
    if name in COUNTS and not (value.isdecimal() and (int(value) > 0 or name == "gpu")):
        raise UsageError(f"option {word} takes a number, not '{value}'")
    return name, value, rest[1 if equals else 2 :]


def _reads_as_range(word: str) -> bool:
    """Whether a word is meant as JOB=1:N, possibly mistyped; a log may have `=` in its path."""
    return re.match(r"[A-Za-z_]\w*=", word) is not None and "/" not in word and "." not in word


def _job_range(word: str) -> Tuple[str, int, int]:
    match = re.fullmatch(r"([A-Za-z_]\w*)=(\d+)(?::(\d+))?", word)
    if match is None:
        raise UsageError(f"'{word}' is not of the form JOB=1:N")
    first = int(match.group(2))
    last = int(match.group(3) or first)
    if last < first:
        raise UsageError(f"'{word}': no job, the last number is below the first")
    return match.group(1), first, last


def argv(command: Sequence[str]) -> List[str]:
    """Arguments to execute: a single argument is a bash command line, several are run directly."""
    if len(command) == 1:
        return ["bash", "-o", "pipefail", "-c", command[0]]
    return list(command)


def shown(command: Sequence[str]) -> str:
    """The command as typed in a shell."""
    return command[0] if len(command) == 1 else shlex.join(command)


def log_head(command: Sequence[str]) -> str:
    """The first lines of a job's log."""
    lines = "".join(f"# {line}\n" for line in shown(command).splitlines())
    return f"{lines}# Started at {time.ctime()}\n#\n"


def log_foot(code: int, seconds: float) -> str:
    """The last line of a job's log."""
    return f"# Ended (code {code}) at {time.ctime()}, elapsed time {seconds:.0f} seconds\n"


def logged_code(log: Path) -> Optional[int]:
    """The exit code in the last line of `log`; None if the job did not finish."""
    try:
        with open(log, "rb") as stream:
            stream.seek(0, os.SEEK_END)
            stream.seek(max(0, stream.tell() - 1000))
            tail = stream.read().decode("utf-8", "replace").splitlines()
    except OSError:
        return None
    match = re.match(r"# Ended \(code (-?\d+)\)", tail[-1]) if tail else None
    return int(match.group(1)) if match else None


def report(program: str, jobs: Sequence[Job], codes: Sequence[Optional[int]]) -> int:
    """Prints which jobs failed and the last lines of the first one; returns the exit status.

    The environment variable SHOWN_LOG names a log that the caller shows (jobs.sh): its lines are
    not repeated. A code of None means that the job was lost before it finished.
    """
    failed = [(job, code) for job, code in zip(jobs, codes) if code != 0]
    if not failed:
        return 0
    logs = " ".join(str(job.log) for job, _ in failed[:10])
    more = f" and {len(failed) - 10} more" if len(failed) > 10 else ""
    print(f"{program}: {len(failed)} of {len(jobs)} jobs failed, see {logs}{more}", file=sys.stderr)
    if failed[0][0].log != Path(os.environ.get("SHOWN_LOG", "")):
        for line in _last_words(failed[0][0].log):
            print(f"  {line}", file=sys.stderr)
    kinds = {code for _, code in failed}
    alike = kinds.pop() if len(kinds) == 1 else None
    return alike if alike is not None and 0 < alike < 126 else 1


def _last_words(log: Path) -> List[str]:
    try:
        with open(log, "rb") as stream:
            stream.seek(0, os.SEEK_END)
            stream.seek(max(0, stream.tell() - 4000))
            lines = stream.read().decode("utf-8", "replace").splitlines()
    except OSError as error:
        return [f"the log cannot be read ({error.strerror})"]
    starts = [n for n, line in enumerate(lines) if line.startswith("# Started at ")]
    lines = lines[starts[-1] if starts else 0 :]  # earlier attempts are above
    said = [line for line in lines if line.strip() and not re.match("#( |$)", line)]
    return said[-SHOWN_LINES:]


def make_log_folders(jobs: Sequence[Job]) -> None:
    for folder in {job.log.parent for job in jobs}:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(f"{folder}: cannot be created ({error.strerror})") from None


def main(program: str, description: str, run) -> int:
    """Runs a launcher: `run(arguments)` returns the exit status."""
    arguments = sys.argv[1:]
    if arguments[:1] in (["--help"], ["-h"]):
        print(description.strip() + "\n\n" + __doc__.split("\n", 2)[2].strip())
        return 0
    try:
        return run(arguments)
    except UsageError as error:
        print(f"{program}: {error}", file=sys.stderr)
        return 2
