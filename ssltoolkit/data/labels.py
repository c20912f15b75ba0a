"""Label files of evaluation tasks: how a task reads one, and how the rows of a user's list become one."""

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
    """Labels of one split, as :class:`ssltoolkit.data.datadir.DataDir` gives them."""

    path: Path
    utt_ids: List[str]

    def labels(self) -> Dict[str, List[str]]: ...

    def events(self) -> Dict[str, List[Event]]: ...

    def pitches(self) -> Dict[str, int]: ...

    def values(self, name: str, check: Callable[[bytes], Optional[str]]) -> Dict[str, str]: ...

    def durations(self) -> Dict[str, float]: ...

    def has(self, name: str) -> bool: ...


class LabelTable:
    """A table with one value an utterance, and the column of a list in TSV form that it is made from.

    Args:
        file: its name in a data directory, ``utt2...`` so that stage 2 takes it along.
        column: of the list, beside ``path`` and ``split``.
        check: what is wrong with a value, in a few words, or None.
        classes: whether values are names of classes; a list whose test split has one that no other split has is then
            refused before anything is trained.

    Example::

        LabelTable("utt2tempo", "tempo", lambda value: None if value.isdigit() else "the tempo must be a whole number")
    """

    #: whether values are names of classes, of which test must hold none that a probe could not learn
    classes = False
    #: what to do about a file that has two rows
    if_twice = "keep one row"

    def __init__(
        self, file: str, column: str, check: Callable[[bytes], Optional[str]], classes: Optional[bool] = None
    ) -> None:
        self.columns: Tuple[str, ...] = (column,)
        self.file, self.check = file, check
        if classes is not None:
            self.classes = classes

    def read(self, source: Source) -> Mapping[str, List[str]]:
        """Utterance id -> what the file says of it, as text; all utterances have an entry.

        Raises:
            DataError: a missing file or a value that ``check`` refuses; names file and line.
        """
        return {utt: [value] for utt, value in source.values(self.file, self.check).items()}

    def check_row(self, row: Row) -> None:
        """Refuse a row of a list whose value ``check`` refuses."""
        refuse(row, self.check(row[self.columns[0]].encode()), *self.columns)

    def names(self, row: Row) -> List[str]:
        """Classes of a row; none where values are numbers."""
        return [row[self.columns[0]]] if self.classes else []

    def tidy(self, list_path: PathLike, splits: Dict[str, Files], out: Path) -> None:
        """Change rows before they are written; ``out`` takes lists of what was changed."""

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
