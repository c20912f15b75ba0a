"""Sound events as labels of a task: rows of a label list to ``events.tsv``, clipped to their recordings and merged."""

from __future__ import annotations

from pathlib import Path
from typing import Dict, List, Mapping

from ssltoolkit.data.audio import duration
from ssltoolkit.data.clipping import CLIPPED, clipped, write_clipped
from ssltoolkit.data.datadir import Event
from ssltoolkit.data.labels import Files, LabelTable, PathLike, Row, Source, refuse
from ssltoolkit.data.tables import EVENTS, EVENTS_HEADER, check_label, check_times
from ssltoolkit.errors import DataError

#: list of events that overlap others of their class
MERGED = "merged_events.txt"


class EventLabels(LabelTable):
    """``events.tsv``. The list has one row per event; a file without events has one row with empty onset, offset and
    label.
    """

    classes = True

    def __init__(self) -> None:
        self.file, self.columns = EVENTS, ("onset", "offset", "label")

    def read(self, source: Source) -> Mapping[str, List[str]]:
        """Utterance id -> labels of its events."""
        return {utt: [event.label for event in events] for utt, events in source.events().items()}

    def check_row(self, row: Row) -> None:
        """Check a row: an event, or the only row of a file without events."""
        if not any(row[name] for name in self.columns):
            return
        refuse(row, check_times(row["onset"].encode(), row["offset"].encode()), "onset", "offset")
        if not row["label"].strip():
            raise DataError(
                f"{row['where']}: an event without a label; a file without events leaves onset and offset empty too"
            )
        refuse(row, check_label(row["label"].encode()), "label")

    def names(self, row: Row) -> List[str]:
        """The label of the event, if there is one."""
        return [row["label"]] * bool(row["label"])

    def tidy(self, list_path: PathLike, splits: Dict[str, Files], out: Path) -> None:
        """Clip events that end up to 50 ms after their recordings and merge overlapping events of a class; both are
        counted and listed.

        Raises:
            DataError: a split without any event, whose scores would be meaningless, or an event after the end of its
                recording.
        """
        late: Dict[str, List[str]] = {split: [] for split in splits}
        merged: Dict[str, List[str]] = {split: [] for split in splits}
        for split, files in splits.items():
            if not any(row["label"] for found in files.values() for row in found):
                raise DataError(
                    f"{list_path}: no file of split {split!r} has an event, so its scores would be meaningless; move "
                    "files with events there"
                )
            for path, found in files.items():
                files[path] = _merged(_within(found, path, late[split]), merged[split])
        for split in splits:
            folder = out / split
            folder.mkdir(parents=True, exist_ok=True)
            write_clipped(folder / CLIPPED, late[split])
            (folder / MERGED).unlink(missing_ok=True)
            if merged[split]:
                (folder / MERGED).write_text("".join(f"{line}\n" for line in merged[split]), encoding="utf-8")
                print(
                    f"{len(merged[split])} events of {split} overlap others of their class and were merged; listed in "
                    f"{folder / MERGED}",
                    flush=True,
                )

    def write(self, files: Files, ids: Mapping[str, str], folder: Path) -> None:
        """Write ``events.tsv`` of one split, sorted by utterance and onset."""
        rows = [(ids[path], row) for path, found in files.items() for row in found if row["label"]]
        rows.sort(key=lambda pair: (pair[0].encode(), float(pair[1]["onset"])))
        lines = [f"{utt}\t{row['onset']}\t{row['offset']}\t{row['label']}\n" for utt, row in rows]
        (folder / EVENTS).write_text(EVENTS_HEADER.decode() + "\n" + "".join(lines), encoding="utf-8")


def _within(rows: List[Row], path: str, late: List[str]) -> List[Row]:
    """Rows of a file, clipped to the recording. Rows of an unreadable file are unchanged: stage 2 reports the file."""
    seconds = duration(path) if any(row["label"] for row in rows) else None
    if seconds is None:
        return rows
    for row in rows:
        if row["label"]:
            event = clipped(
                Event(float(row["onset"]), float(row["offset"]), row["label"]), seconds, f"{row['where']}: {path}"
            )
            if event.offset != float(row["offset"]):
                late.append(f"{row['where']}\t{path}\tends at {row['offset']} s, its recording at {event.offset:.3f} s")
                row["offset"] = f"{event.offset:.6f}"
    return rows


def _merged(rows: List[Row], merged: List[str]) -> List[Row]:
    """Merge overlapping events of a class into one row."""
    kept: List[Row] = []
    last: Dict[str, Row] = {}
    for row in sorted(rows, key=lambda row: float(row["onset"] or 0)):
        before = last.get(row["label"]) if row["label"] else None
        if before is None or float(row["onset"]) >= float(before["offset"]):
            kept.append(row)
            last[row["label"]] = row
            continue
        merged.append(
            f"{row['where']}\t{row['label']} from {row['onset']} to {row['offset']} s\tinto {before['where']}"
        )
        if float(row["offset"]) > float(before["offset"]):
            before["offset"] = row["offset"]
    return kept
