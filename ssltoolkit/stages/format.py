"""Stage 2: convert audio of any format to archives of 16-bit mono waves."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence, Tuple, Union

import numpy as np

from ssltoolkit.data import shards
from ssltoolkit.data.archive import append_to_ark
from ssltoolkit.data.audio import read_audio, read_command, resample, to_int16
from ssltoolkit.data.clipping import CLIPPED, clipped, write_clipped
from ssltoolkit.data.datadir import DataDir, Segment, read_table, write_table
from ssltoolkit.data.tables import EVENTS, EVENTS_HEADER, TO_END, is_command
from ssltoolkit.errors import DataError

PathLike = Union[str, Path]
#: list of utterances whose samples were changed
CHANGED = "changed_utts.txt"
#: tables that describe the original audio; they are written again for the formatted audio
_MEASURED = ("utt2num_samples", "utt2dur", "utt2num_frames")


@dataclass(frozen=True)
class FormatOptions:
    """Options of ``ssltoolkit format``.

    Attributes:
        data_dir: Kaldi-style directory. out_dir: formatted directory to write. sample_rate: Hz.
        jobs: number of jobs that share the work. job: run only this job, 1 to ``jobs``; None: all, then merge.
        merge: only merge the output of the jobs.
        max_bad: tolerated share of unusable files, at least one. allow_pipes: run commands of ``wav.scp``.
    """

    data_dir: PathLike
    out_dir: PathLike
    sample_rate: int = 16000
    jobs: int = 1
    job: Optional[int] = None
    merge: bool = False
    max_bad: float = 0.01
    allow_pipes: bool = False


def format_audio(options: FormatOptions) -> Optional[int]:
    """Run ``ssltoolkit format``; returns the number of usable utterances, None after one job's share.

    Raises:
        DataError: malformed input files.
        UserError: a missing shard, or too many unusable utterances.

    Example::

        format_audio(FormatOptions("data/train", "dump/raw/train"))  # 120
    """
    formatter = Formatter(options.data_dir, options.out_dir, options.sample_rate, options.allow_pipes)
    if not options.merge:
        for job in [options.job] if options.job is not None else range(1, options.jobs + 1):
            formatter.run_job(job, options.jobs)
    return formatter.finish(options.max_bad) if options.job is None else None


class Formatter:
    """Formats one data directory into another.

    Args:
        data_dir: Kaldi-style directory with ``wav.scp`` and optionally ``segments``.
        out_dir: folder for the archives, ``wav.scp``, ``utt2num_samples``, ``utt2dur`` and the copied tables.
        sample_rate: sample rate of the archives, Hz.
        allow_pipes: run entries of ``wav.scp`` that are commands (``sox ... |``); the author of that file can then run
            any command under your account.

    Raises:
        DataError: malformed input files.
    """

    def __init__(
        self, data_dir: PathLike, out_dir: PathLike, sample_rate: int = 16000, allow_pipes: bool = False
    ) -> None:
        self.data, self.out, self.sample_rate = DataDir(data_dir), Path(out_dir), sample_rate
        self.records, self.allow_pipes = self.out / "shards", allow_pipes
        self._wav, self._segments = self.data.wav(), self.data.segments()

    def run_job(self, job: int, jobs: int) -> None:
        """Write this job's unfinished shards."""
        from tqdm import tqdm

        self.records.mkdir(parents=True, exist_ok=True)
        todo = [
            (number, utts)
            for number, utts in shards.shards_of(self.data.utt_ids, job, jobs)
            if not self._finished(number, utts)
        ]
        with tqdm(total=sum(len(utts) for _, utts in todo), unit="file", desc="format", mininterval=1.0) as bar:
            for number, utts in todo:
                self._write_shard(number, utts, bar)

    def finish(self, max_bad: float) -> int:
        """Merge the shards into the output directory; returns the number of usable utterances.

        Raises:
            UserError: a shard is missing, or too many utterances are unusable.
        """
        records = shards.read_all_records(self.records, shards.shard_count(self.data.utt_ids), "stage 2")
        good: Dict[str, Tuple[str, int]] = {}
        bad: Dict[str, str] = {}
        notes: Dict[str, str] = {}
        for number, record in enumerate(records, 1):
            archive = self._archive(number).resolve()
            good.update({utt: (f"{archive}:{offset}", length) for utt, (offset, length) in record["utts"].items()})
            bad.update(record["bad"])
            notes.update(record.get("notes", {}))
        shards.check_bad(self.out, bad, len(self.data.utt_ids), max_bad)
        self._list_changed(notes)
        self._write_tables(good)
        return len(good)

    def _list_changed(self, notes: Dict[str, str]) -> None:
        """Write the list of utterances whose samples were changed; no file if there are none."""
        path = self.out / CHANGED
        path.unlink(missing_ok=True)
        if notes:
            path.write_text("".join(f"{utt}\t{note}\n" for utt, note in sorted(notes.items())), encoding="utf-8")
            first = min(notes)
            print(
                f"{len(notes)} utterances were changed (first: {first}: {notes[first]}); all: {path}",
                flush=True,
            )

    def _write_tables(self, good: Dict[str, Tuple[str, int]]) -> None:
        for path in _copied_tables(self.data.path):
            _copy_table(path, self.out / path.name, good)
        if self.data.has(EVENTS):
            _copy_events(self.data, self.out, {utt: length / self.sample_rate for utt, (_, length) in good.items()})
        for path in (*_copied_tables(self.out), self.out / EVENTS):  # of an earlier run
            if path.is_file() and not (self.data.path / path.name).is_file():
                path.unlink()
        write_table(self.out / "utt2num_samples", {utt: str(length) for utt, (_, length) in good.items()})
        write_table(
            self.out / "utt2dur", {utt: f"{length / self.sample_rate:.6f}" for utt, (_, length) in good.items()}
        )
        write_table(self.out / "wav.scp", {utt: location for utt, (location, _) in good.items()})

    def _archive(self, number: int) -> Path:
        return self.out / f"wav.{number:05d}.ark"

    def _key(self, utts: Sequence[str]) -> str:
        sources = [
            (utt, *self._segments[utt], *_source_state(self._wav.get(self._segments[utt].recording, "")))
            for utt in utts
        ]
        # A rejected command and its output are different inputs.
        pipes = self.allow_pipes and any(_is_pipe(str(source[4])) for source in sources)
        return shards.input_key("format-2", self.sample_rate, sources, *(["pipes"] if pipes else []))

    def _finished(self, number: int, utts: Sequence[str]) -> bool:
        record = shards.read_record(shards.record_path(self.records, number), self._key(utts))
        return (
            record is not None
            and self._archive(number).is_file()
            and self._archive(number).stat().st_size == record["bytes"]
        )

    def _write_shard(self, number: int, utts: Sequence[str], bar: Any) -> None:
        archive = self._archive(number)
        written: Dict[str, Tuple[int, int]] = {}
        bad: Dict[str, str] = {}
        notes: Dict[str, str] = {}
        record = shards.record_path(self.records, number)
        with shards.unfinished(record, archive) as ark:
            for utt in utts:
                try:
                    wave, done = self._wave(utt)
                    written[utt] = (append_to_ark(ark, utt, (self.sample_rate, wave)), len(wave))
                    if done:
                        notes[utt] = "; ".join(done)
                except DataError as error:
                    bad[utt] = str(error)
                bar.update(1)
        shards.write_record(
            record,
            {"key": self._key(utts), "bytes": archive.stat().st_size, "bad": bad, "notes": notes, "utts": written},
        )

    def _wave(self, utt: str) -> Tuple[np.ndarray, List[str]]:
        notes: List[str] = []
        segment: Segment = self._segments[utt]
        location = self._wav[segment.recording]
        end = None if segment.end == TO_END else segment.end
        if not _is_pipe(location):
            samples, rate = read_audio(location, segment.start, end, notes)
        elif self.allow_pipes:
            samples, rate = read_command(location, segment.start, end, notes=notes)
        else:
            raise DataError(
                f"{location!r} is a command and was not run; convert the audio to files, or allow commands of this "
                "wav.scp with --allow_pipes true"
            )
        return to_int16(resample(samples, rate, self.sample_rate)), notes


def _is_pipe(location: str) -> bool:
    """Whether an entry of ``wav.scp`` is a command whose output is the audio."""
    return is_command(location.encode())


def _source_state(location: str) -> List[Any]:
    """Path, size and modification time, so that changed audio is formatted again."""
    try:
        status = Path(location).stat()
    except (OSError, ValueError):
        return [location, None, None]
    return [location, status.st_size, status.st_mtime_ns]


def _copied_tables(folder: Path) -> List[Path]:
    """Tables of utterances that are copied, not measured."""
    return [
        path
        for path in sorted(folder.glob("utt2*"))
        if re.fullmatch(r"utt2\w+", path.name) and path.name not in _MEASURED
    ]


def _copy_table(source: Path, target: Path, keep: Dict[str, Any]) -> None:
    write_table(target, {utt: value for utt, value in read_table(source).items() if utt in keep})


def _copy_events(data: DataDir, out: Path, seconds: Dict[str, float]) -> None:
    rows, late = [], []
    for where, utt, event in data.event_rows():
        if utt in seconds:
            whole = clipped(event, seconds[utt], f"{where}: {utt}")
            rows.append((utt, whole))
            if whole != event:
                late.append(f"{where}\t{utt}\tends at {event.offset:g} s, its recording at {whole.offset:.3f} s")
    write_clipped(out / CLIPPED, late)
    rows.sort(key=lambda row: (row[0].encode(), row[1]))
    lines = [f"{utt}\t{e.onset:.6f}\t{e.offset:.6f}\t{e.label}\n" for utt, e in rows]
    (out / EVENTS).write_text(EVENTS_HEADER.decode() + "\n" + "".join(lines), encoding="utf-8")
