"""Work on a data directory in shards of fixed size.

A shard's output depends only on its utterances, so the result is the same for any number of jobs, and a re-run only
processes missing shards. A shard is finished once its record (JSON, written last) matches its input.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from pathlib import Path
from typing import Any, BinaryIO, Dict, Iterator, List, Optional, Sequence, Tuple, Union

from ssltoolkit.errors import DataError, UserError, writing

PathLike = Union[str, Path]
SHARD_SIZE = 500


def shards_of(utt_ids: Sequence[str], job: int, jobs: int) -> Iterator[Tuple[int, Sequence[str]]]:
    """Shards (number from 1, utterances) of one job out of ``jobs``.

    Raises:
        UserError: job not in 1 ... jobs.
    """
    if not 1 <= job <= jobs:
        raise UserError(f"--job {job}: must lie between 1 and --nj {jobs}")
    for number in range(job, shard_count(utt_ids) + 1, jobs):
        yield number, utt_ids[(number - 1) * SHARD_SIZE : number * SHARD_SIZE]


def shard_count(utt_ids: Sequence[str]) -> int:
    """Number of shards."""
    return -(-len(utt_ids) // SHARD_SIZE)


def input_key(*parts: Any) -> str:
    """Hash of everything a shard's output depends on."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()


def read_record(path: Path, key: Optional[str] = None) -> Optional[Dict[str, Any]]:
    """Record of a finished shard; None if it is missing, damaged, or belongs to an input other than ``key``."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return record if isinstance(record, dict) and (key is None or record.get("key") == key) else None


@contextlib.contextmanager
def unfinished(record: Path, archive: Path) -> Iterator[BinaryIO]:
    """Open the archive of a shard for writing. Its old record is removed first, because it would also match a partially
    written archive.

    Raises:
        UserError: the disk is full.
    """
    record.unlink(missing_ok=True)
    with writing(archive), open(archive, "wb") as stream:
        yield stream


def write_record(path: Path, record: Dict[str, Any]) -> None:
    """Mark a shard as finished, atomically."""
    temporary = path.with_name(path.name + ".tmp")
    with writing(temporary):
        temporary.write_text(json.dumps(record), encoding="utf-8")
    temporary.replace(path)


def read_all_records(folder: Path, count: int, stage: str) -> List[Dict[str, Any]]:
    """The records of all shards in order.

    Raises:
        UserError: some are missing: a job failed or did not run.
    """
    records = [read_record(record_path(folder, number)) for number in range(1, count + 1)]
    missing = [number for number, record in enumerate(records, 1) if record is None]
    if missing:
        raise UserError(
            f"{folder}: {len(missing)} of {count} shards are not finished (first: {missing[0]}); run {stage} again"
        )
    return [record for record in records if record is not None]


def record_path(folder: Path, number: int) -> Path:
    """Path of the record of shard ``number``."""
    return folder / f"shard.{number:05d}.json"


def check_bad(folder: Path, bad: Dict[str, str], total: int, max_bad: float) -> None:
    """List unusable utterances in ``bad_utts.txt``; too many are an error.

    Args:
        folder: folder for the list.
        bad: utterance id -> reason.
        total: number of utterances.
        max_bad: largest tolerated share; one file is always tolerated, unless it is the only one.

    Raises:
        DataError: more than tolerated, or no usable utterance is left.
    """
    path = folder / "bad_utts.txt"
    path.write_text("".join(f"{utt}\t{reason}\n" for utt, reason in sorted(bad.items())), encoding="utf-8")
    if not bad:
        return
    allowed = max(1, int(max_bad * total))
    print(f"{len(bad)} of {total} utterances cannot be used and are left out; reasons: {path}", flush=True)
    if len(bad) > allowed or len(bad) == total:
        utt, reason = next(iter(sorted(bad.items())))
        raise DataError(
            f"{path}: {len(bad)} of {total} utterances are unusable, more than the {allowed} that --max_bad "
            f"{max_bad:g} allows (first: {utt}: {reason}); fix or remove them, or raise --max_bad"
        )
