"""Incremental writing of ``.npz`` files, so that not all arrays need to be in memory."""

from __future__ import annotations

import shutil
import tempfile
import zipfile
from pathlib import Path
from types import TracebackType
from typing import Any, Optional, Tuple, Type, Union

import numpy as np

PathLike = Union[str, Path]


class NpzWriter:
    """Writes the same file as ``np.savez``, array by array.

    Args:
        path: path of the file; a temporary file is in its folder while rows are collected.

    Example:
        >>> with NpzWriter("out.npz") as out:
        ...     out.add("mean", np.zeros(3))
    """

    def __init__(self, path: PathLike) -> None:
        self.path, self.folder = Path(path), Path(path).parent
        self._zip = zipfile.ZipFile(path, "w", zipfile.ZIP_STORED, allowZip64=True)

    def __enter__(self) -> "NpzWriter":
        return self

    def __exit__(
        self, kind: Optional[Type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        try:
            self._zip.close()
        finally:
            if error is not None:  # do not leave an incomplete file
                self.path.unlink()

    def add(self, name: str, array: np.ndarray) -> None:
        """Write one array."""
        with self._zip.open(f"{name}.npy", "w", force_zip64=True) as stream:
            np.lib.format.write_array(stream, np.asanyarray(array), allow_pickle=False)

    def add_rows(self, name: str, rows: "Rows") -> None:
        """Write the collected rows as one array."""
        with self._zip.open(f"{name}.npy", "w", force_zip64=True) as stream:
            header = {"descr": np.lib.format.dtype_to_descr(rows.dtype), "fortran_order": False, "shape": rows.shape}
            np.lib.format.write_array_header_1_0(stream, header)
            rows.copy_to(stream)


class Rows:
    """Rows (n, D) of one array, collected on disk.

    Args:
        folder: folder for the temporary file.
    """

    def __init__(self, folder: PathLike) -> None:
        self._file = tempfile.TemporaryFile(dir=folder)
        self.shape: Tuple[int, ...] = (0,)
        self.dtype = np.dtype(np.float32)

    def __enter__(self) -> "Rows":
        return self

    def __exit__(self, *_: Any) -> None:
        self._file.close()

    def add(self, rows: np.ndarray) -> None:
        """Append rows (n, D), all with the same D and dtype."""
        self.shape, self.dtype = (self.shape[0] + len(rows), *rows.shape[1:]), rows.dtype
        self._file.write(np.ascontiguousarray(rows).data)

    def copy_to(self, stream: Any) -> None:
        """Copy the bytes of all rows to a stream."""
        self._file.seek(0)
        shutil.copyfileobj(self._file, stream, 1 << 20)
