"""Label files of evaluation tasks: reading them, and writing them from the rows of a user's list."""

from __future__ import annotations

from pathlib import Path
from typing import Callable, Dict, List, Mapping, Optional, Protocol, Tuple, Union

from ssltoolkit.data.datadir import Event, write_table
from ssltoolkit.errors import DataError

PathLike = Union[str, Path]
#: a row of a list by column, with ``where`` (file and line), and the rows of each audio file
Row = Dict[str, str]
Files = Dict[str, List[Row]]


class Source(Protocol):
    """Labels of one split, with the interface of :class:`ssltoolkit.data.datadir.DataDir`."""

    path: Path
    utt_ids: List[str]

    def labels(self) -> Dict[str, List[str]]: ...

    def events(self) -> Dict[str, List[Event]]: ...

    def pitches(self) -> Dict[str, int]: ...

    def values(self, name: str, check: Callable[[bytes], Optional[str]]) -> Dict[str, str]: ...

    def durations(self) -> Dict[str, float]: ...

    def has(self, name: str) -> bool: ...


class LabelTable:
    """A table with one value per utterance, and the column of the TSV list that it is written from.

    Args:
        file: file name in a data directory, ``utt2...`` so that stage 2 copies it.
        column: column of the list, besides ``path`` and ``split``.
        check: function that returns what is wrong with a value, in a few words, or None.
        classes: whether values are class names; a test class that no other split has is then an error before training.

    Example::

        LabelTable("utt2tempo", "tempo", lambda value: None if value.isdigit() else "the tempo must be a whole number")
    """

    #: whether values are class names; test must not contain a class that no other split has
    classes = False
    #: advice for a file that is listed twice
    if_twice = "keep one row"

    def __init__(
        self, file: str, column: str, check: Callable[[bytes], Optional[str]], classes: Optional[bool] = None
    ) -> None:
        self.columns: Tuple[str, ...] = (column,)
        self.file, self.check = file, check
        if classes is not None:
            self.classes = classes

    def read(self, source: Source) -> Mapping[str, List[str]]:
        """Utterance id -> its value as text; all utterances have an entry.

        Raises:
            DataError: a missing file or a value that ``check`` refuses; names file and line.
        """
        return {utt: [value] for utt, value in source.values(self.file, self.check).items()}

    def check_row(self, row: Row) -> None:
        """Raise an error for a row whose value ``check`` rejects."""
        refuse(row, self.check(row[self.columns[0]].encode()), *self.columns)

    def names(self, row: Row) -> List[str]:
        """Classes of a row; none if values are numbers."""
        return [row[self.columns[0]]] if self.classes else []

    def tidy(self, list_path: PathLike, splits: Dict[str, Files], out: Path) -> None:
        """Change rows before they are written; lists of the changes are written to ``out``."""

    def write(self, files: Files, ids: Mapping[str, str], folder: Path) -> None:
        """Write the file of one split; ``ids`` maps a path to its utterance id."""
        for path, found in files.items():
            if len(found) > 1:
                raise DataError(f"{found[1]['where']}: {path} is listed twice; {self.if_twice}")
        write_table(folder / self.file, {ids[path]: found[0][self.columns[0]] for path, found in files.items()})


def refuse(row: Row, fault: Optional[str], *columns: str) -> None:
    """Raise :class:`DataError` with the row's line and values if there is a fault."""
    if fault is not None:
        raise DataError(f"{row['where']}: {fault}, got {' and '.join(repr(row[name]) for name in columns)}")
