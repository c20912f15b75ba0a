"""One run at a time in an experiment folder."""

from __future__ import annotations

import json
import os
import socket
import sys
import time
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple, Union

import filelock

from ssltoolkit.errors import UserError, writing

PathLike = Union[str, Path]
#: the locked file, which is empty and stays, and the file that names the holder
GUARD, NAME = ".lock", "lock"


class RunLock:
    """Holds ``<folder>/lock`` while a run writes to the folder.

    The file names the holder (process id, host, time). The system lock on ``.lock`` ends with its process and so
    distinguishes a live run from a file left behind by a killed one. A lock file of another host always counts, because
    not every network file system propagates locks, unless it belongs to the same cluster job restarted elsewhere.

    Args:
        folder: experiment folder.

    Raises:
        UserError: another run holds the lock; names its process and host.
    """

    def __init__(self, folder: PathLike) -> None:
        self.path = Path(folder) / NAME
        self._system = filelock.FileLock(self.path.with_name(GUARD))
        self._held = False

    def acquire(self) -> None:
        """Take the lock."""
        free, holder = self._take_system(), _holder(self.path)
        try:
            if not free or (holder is not None and _alive(holder)):
                raise UserError(
                    f"{self.path}: another run is writing to this folder: {_description(holder)}; wait until it ends, "
                    "or choose another --exp_dir"
                )
            if holder is not None:
                print(
                    f"warning: {self.path}: left behind by {_description(holder)}, which is gone; replaced",
                    file=sys.stderr,
                )
            with writing(self.path):
                self.path.write_text(json.dumps(_this_run()), encoding="utf-8")
            self._held = True
        finally:
            if not self._held:
                self._system.release()

    def release(self) -> None:
        """Remove the file, if this object holds it."""
        if self._held:
            self.path.unlink(missing_ok=True)
            self._held = False
            self._system.release()

    def _take_system(self) -> bool:
        """Take the system lock; False if another process holds it."""
        try:
            self._system.acquire(blocking=False)
        except filelock.Timeout:
            return False
        except (OSError, NotImplementedError):
            pass  # a file system without locks: rely on the lock file alone
        return True


def _holder(path: Path) -> Optional[Dict[str, Any]]:
    """Content of the lock file; None if it is missing or truncated."""
    try:
        holder = json.loads(path.read_text(encoding="utf-8", errors="replace"))
    except (OSError, ValueError):
        return None
    return holder if isinstance(holder, dict) else None


def _this_run() -> Dict[str, Any]:
    now = time.strftime("%Y-%m-%d %H:%M:%S")
    return {
        "pid": os.getpid(),
        "host": socket.gethostname(),
        "began": _start_time(os.getpid()),
        "since": now,
        "job": _job(),
    }


def _job() -> str:
    """Job id of the cluster or launcher, which stays the same after a restart on another machine."""
    launch = os.environ.get("TORCHELASTIC_RUN_ID", "")
    # none: torchrun was given no --rdzv-id
    return os.environ.get("SLURM_JOB_ID") or ("" if launch == "none" else launch)


def _start_time(pid: int) -> str:
    """Start time of a process in system ticks, because process ids are reused; empty if unknown."""
    return (_state(pid) + [""] * 20)[19]


def _is_zombie(pid: int) -> bool:
    """Whether a process is a zombie, as in containers whose init process does not reap children."""
    return _state(pid)[:1] in (["Z"], ["X"])


def _state(pid: int) -> List[str]:
    """Fields of ``/proc/PID/stat`` from the third on; empty if there is no such file."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def _alive(holder: Dict[str, Any]) -> bool:
    """Whether the process named in a lock may still be running."""
    if holder.get("host") != socket.gethostname():
        return not (holder.get("job") and holder["job"] == _job())
    try:
        pid = int(holder["pid"])
        os.kill(pid, 0)
    except PermissionError:
        pass  # another user's process
    except (OSError, OverflowError, KeyError, TypeError, ValueError):
        return False
    return pid != os.getpid() and not _is_zombie(pid) and _start_time(pid) == holder.get("began", "")


def _description(holder: Optional[Dict[str, Any]]) -> str:
    holder = holder or {}
    pid, host, since = (
        holder.get("pid", "(unknown)"),
        holder.get("host", "(unknown host)"),
        holder.get("since", "(unknown)"),
    )
    return f"process {pid} on {host}, since {since}"


def state_of(folder: PathLike) -> Tuple[str, bool]:
    """Description of a folder's lock (empty: no lock), and whether its process may still be running."""
    holder = _holder(Path(folder) / NAME)
    if holder is None:
        return "", False
    live = _alive(holder)
    return f"{'held by' if live else 'left behind by'} {_description(holder)}", live
