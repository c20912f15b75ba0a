"""Frozen embeddings on disk, written one utterance at a time and read through a memory map.

A folder contains ``embeddings.npy`` (rows, D) float32, ``index`` (``utt_id first_row num_rows`` lines), for frame
embeddings ``timestamps.npy`` (rows,) float64 in ms, and ``meta.json``, which is written last: a folder without it is
incomplete.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
from pathlib import Path
from typing import Any, Dict, Iterable, List, Mapping, Optional, Union

import numpy as np

from ssltoolkit.errors import DataError, UserError, writing

PathLike = Union[str, Path]
KINDS = ("scene", "frame")
CHUNK_ROWS = 65536
_HEADER_BYTES = 128


class _NpyStream:
    """Writer of an ``.npy`` file whose number of rows is known only at the end."""

    def __init__(self, path: Path, dtype: str, columns: Optional[int]) -> None:
        self.path, self.dtype, self.columns, self.rows = path, np.dtype(dtype), columns, 0
        self.file = open(path, "wb")
        self.file.write(b"\0" * _HEADER_BYTES)

    def write(self, array: np.ndarray) -> None:
        with writing(self.path):
            self.file.write(np.ascontiguousarray(array, dtype=self.dtype).tobytes())
        self.rows += len(array)

    def close(self) -> None:
        shape = (self.rows,) if self.columns is None else (self.rows, self.columns)
        header = io.BytesIO()
        np.lib.format.write_array_header_1_0(header, {"descr": self.dtype.str, "fortran_order": False, "shape": shape})
        text = header.getvalue()
        # NumPy pads the header, so its size does not depend on the number of rows.
        assert len(text) == _HEADER_BYTES, f"unexpected .npy header size {len(text)}"
        self.file.seek(0)
        self.file.write(text)
        self.file.flush()
        os.fsync(self.file.fileno())
        self.file.close()


class EmbeddingWriter:
    """Write the embeddings of one model on one split.

    Args:
        path: folder to write; created if missing, existing content is replaced.
        kind: ``scene`` (one row per utterance) or ``frame`` (one row per frame, with timestamps).
        dim: number of columns D.
        meta: JSON-serialisable values; ``model`` and ``model_hash`` identify the model.

    Used as a context manager; after an exception the folder has no ``meta.json`` and so counts as incomplete.

    Example:
        >>> with EmbeddingWriter("emb", "scene", dim=2, meta={"model": "m", "model_hash": "0"}) as writer:
        ...     writer.add("utt1", np.ones(2, np.float32))
        >>> EmbeddingStore("emb").matrix.shape
        (1, 2)
    """

    def __init__(self, path: PathLike, kind: str, dim: int, meta: Optional[Mapping[str, Any]] = None) -> None:
        if kind not in KINDS:
            raise ValueError(f"kind must be one of {', '.join(KINDS)}, got {kind!r}")
        self.path, self.kind, self.dim, self.meta = Path(path), kind, int(dim), dict(meta or {})
        self.path.mkdir(parents=True, exist_ok=True)
        (self.path / "meta.json").unlink(missing_ok=True)
        self._rows = _NpyStream(self.path / "embeddings.npy", "<f4", self.dim)
        self._times = _NpyStream(self.path / "timestamps.npy", "<f8", None) if kind == "frame" else None
        if kind == "scene":
            (self.path / "timestamps.npy").unlink(missing_ok=True)
        self._index: Dict[str, tuple] = {}

    def add(self, utt_id: str, array: np.ndarray, timestamps_ms: Optional[np.ndarray] = None) -> None:
        """Append one utterance.

        Args:
            array: (D,) for scene, (T, D) for frame embeddings; written as float32.
            timestamps_ms: (T,) frame centres in ms, increasing; frame embeddings only.

        Raises:
            UserError: NaN or infinite values, wrong shape, or an utterance added twice.
        """
        array = np.asarray(array)
        expected = "(D,)" if self.kind == "scene" else "(T, D)"
        if array.ndim != (1 if self.kind == "scene" else 2) or array.shape[-1] != self.dim:
            raise UserError(
                f"{utt_id}: {self.kind} embedding must be {expected} with D = {self.dim}, got {array.shape}"
            )
        if utt_id in self._index:
            raise UserError(f"{utt_id}: embedding added twice; utterance ids must be unique")
        if not np.isfinite(array).all():
            raise UserError(
                f"{utt_id}: the model gave NaN or infinite embeddings; use a checkpoint that did not diverge"
            )
        rows = array.reshape(-1, self.dim)
        if self._times is not None:
            times = np.asarray(timestamps_ms, dtype=np.float64).reshape(-1)
            if len(times) != len(rows) or not np.isfinite(times).all() or (np.diff(times) <= 0).any():
                raise UserError(f"{utt_id}: needs {len(rows)} increasing timestamps in ms, got {len(times)}")
            self._times.write(times)
        self._index[utt_id] = (self._rows.rows, len(rows))
        self._rows.write(rows)

    def close(self) -> None:
        """Complete the folder: write the index, then ``meta.json``."""
        with writing(self.path):
            self._close()

    def _close(self) -> None:
        self._rows.close()
        if self._times is not None:
            self._times.close()
        with open(self.path / "index", "w", encoding="utf-8", newline="\n") as out:
            for utt, (first, count) in self._index.items():
                out.write(f"{utt} {first} {count}\n")
        meta = {
            **self.meta,
            "kind": self.kind,
            "dim": self.dim,
            "num_utts": len(self._index),
            "num_rows": self._rows.rows,
        }
        temporary = self.path / "meta.json.tmp"
        temporary.write_text(json.dumps(meta, indent=1) + "\n", encoding="utf-8")
        temporary.replace(self.path / "meta.json")

    def __enter__(self) -> EmbeddingWriter:
        return self

    def __exit__(self, kind: Any, value: Any, trace: Any) -> None:
        if kind is None:
            self.close()
            return
        for stream in (self._rows, self._times):
            if stream is not None:
                with contextlib.suppress(OSError):  # report the first error
                    stream.file.close()


class EmbeddingStore:
    """Read access to a folder of :class:`EmbeddingWriter`.

    Attributes:
        utt_ids: ids in the order in which they were written.
        dim, kind, meta: as written.
        matrix: memory map (N, D) float32.

    Raises:
        UserError: missing or incomplete folder, inconsistent contents, NaN or infinite values.
    """

    def __init__(self, path: PathLike) -> None:
        self.path = Path(path)
        if not self.path.is_dir():
            raise DataError(f"{self.path}: no such embedding folder; write it first (stage 5)")
        try:
            self.meta: Dict[str, Any] = json.loads((self.path / "meta.json").read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise DataError(f"{self.path}: no meta.json, so the embeddings are unfinished; run stage 5 again") from None
        except ValueError as error:
            raise DataError(f"{self.path / 'meta.json'}: not JSON ({error}); run stage 5 again") from None
        self.kind, self.dim = self.meta["kind"], int(self.meta["dim"])
        self.matrix = self._load("embeddings.npy")
        self._times = self._load("timestamps.npy") if self.kind == "frame" else None
        self._slices = self._read_index()
        self.utt_ids: List[str] = list(self._slices)
        self._check_finite()

    def _load(self, name: str) -> np.ndarray:
        try:
            array = np.load(self.path / name, mmap_mode="r")
        except (OSError, ValueError) as error:
            raise DataError(f"{self.path / name}: cannot be read ({error}); run stage 5 again") from None
        if len(array) != self.meta["num_rows"]:
            raise DataError(
                f"{self.path / name}: {len(array)} rows, meta.json says {self.meta['num_rows']}; run stage 5 again"
            )
        return array

    def _read_index(self) -> Dict[str, slice]:
        slices: Dict[str, slice] = {}
        path = self.path / "index"
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except OSError as error:
            raise DataError(f"{path}: cannot be read ({error.strerror}); run stage 5 again") from None
        for number, line in enumerate(lines, 1):
            fields = line.split()
            if len(fields) != 3 or not (fields[1].isdigit() and fields[2].isdigit()):
                raise DataError(f"{path}:{number}: expected 'utt_id first_row num_rows', got {line[:60]!r}")
            first, count = int(fields[1]), int(fields[2])
            if fields[0] in slices or first + count > len(self.matrix):
                raise DataError(f"{path}:{number}: duplicate utterance or rows beyond the end; run stage 5 again")
            slices[fields[0]] = slice(first, first + count)
        return slices

    def _check_finite(self) -> None:
        for start in range(0, len(self.matrix), CHUNK_ROWS):
            finite = np.isfinite(self.matrix[start : start + CHUNK_ROWS]).all(axis=1)
            if not finite.all():
                row = start + int(np.argmin(finite))
                utt = next((name for name, rows in self._slices.items() if rows.start <= row < rows.stop), "?")
                raise DataError(
                    f"{self.path / 'embeddings.npy'}: row {row} (utterance {utt!r}) is NaN or infinite; "
                    "use a checkpoint that did not diverge and run stage 5 again"
                )

    def rows(self, utt_id: str) -> slice:
        """Rows of ``matrix`` that belong to an utterance."""
        try:
            return self._slices[utt_id]
        except KeyError:
            raise DataError(
                f"{self.path}: no embedding of utterance {utt_id!r}; the embeddings are from other data, run stage 5 "
                "again"
            ) from None

    def timestamps_ms(self, utt_id: str) -> np.ndarray:
        """(T,) frame centres of an utterance in ms."""
        if self._times is None:
            raise DataError(f"{self.path}: scene embeddings have no timestamps; this task needs frame embeddings")
        return np.asarray(self._times[self.rows(utt_id)])


def check_same_model(stores: Iterable[EmbeddingStore]) -> None:
    """Raise :class:`UserError` unless all stores were written by one model with one dimension and kind."""
    first: Optional[EmbeddingStore] = None
    for store in stores:
        first = first or store
        for key in ("model_hash", "model", "kind", "dim"):
            ours, theirs = store.meta.get(key), first.meta.get(key)
            if ours != theirs:
                raise DataError(
                    f"{store.path / 'meta.json'}: {key} is {ours!r} but {theirs!r} in {first.path / 'meta.json'}; "
                    "embeddings of two models must not be mixed, run stage 5 again for both"
                )
