"""Labels of sounds from a tab-separated list."""

from __future__ import annotations

import csv
import os
from pathlib import Path
from typing import Dict, Sequence

from ssltoolkit.errors import DataError


def read_labels(path: str, root: Path, paths: Sequence[str]) -> Dict[str, str]:
    """Read the labels of sounds from a list; sounds that it does not name have no label.

    Args:
        path: path of the list. Its header has ``path`` and ``label``; other columns are ignored. Paths are absolute, or
            relative to the folder of the list or to ``root``.
        root: folder of the sounds.
        paths: paths of the sounds, relative to ``root``.

    Raises:
        DataError: a column is missing, or no path of the list is a sound of the folder.
    """
    places = {os.path.realpath(root / name): name for name in paths}
    found: Dict[str, str] = {}
    rows = 0
    try:
        with open(path, encoding="utf-8", newline="") as stream:
            reader = csv.DictReader(stream, delimiter="\t", quoting=csv.QUOTE_NONE)
            missing = [name for name in ("path", "label") if name not in (reader.fieldnames or ())]
            if missing:
                raise DataError(
                    f"{path}:1: the header needs the tab-separated columns path and label; "
                    f"missing: {', '.join(missing)}"
                )
            for row in reader:
                rows += 1
                if not row["path"] or row["label"] is None:
                    raise DataError(f"{path}:{reader.line_num}: expected the columns path and label")
                tried = (os.path.realpath(base / row["path"]) for base in (Path(path).parent, root))
                name = next((places[place] for place in tried if place in places), None)
                if name is not None:
                    found[name] = row["label"]
    except (OSError, UnicodeDecodeError, ValueError, csv.Error) as error:
        raise DataError(f"{path}: cannot read this list: {error}") from None
    if not found:
        raise DataError(
            f"{path}: none of its {rows} paths is a sound of {root}; write them relative to the list or to that folder"
        )
    if len(found) < rows:
        print(f"{path}: {rows - len(found)} of {rows} rows name no sound of the folder")
    return found
