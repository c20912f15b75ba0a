"""Wave archives: kaldiio arks of 16-bit mono waves, read a segment at a time.

The index of a corpus is a few flat arrays, so that millions of utterances take tens of bytes each, and a segment is read
with one ``pread``: memory does not depend on the size of the corpus.
"""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import Any, BinaryIO, Dict, List, Optional, Sequence, Tuple, Union

import numpy as np

from ssltoolkit.data.datadir import read_table
from ssltoolkit.errors import DataError

PathLike = Union[str, Path]
_HEADER_BYTES = 256


def split_offset(location: str, where: str) -> Tuple[str, int]:
    """``path:offset`` of an scp entry.

    Raises:
        DataError: no numeric offset.
    """
    path, _, offset = location.rpartition(":")
    if not path or not offset.isdigit():
        raise DataError(f"{where}: expected 'archive:offset', got {location!r}; run stage 2 to make wave archives")
    return path, int(offset)


def parse_wave_header(header: bytes, where: str) -> Tuple[int, int, int]:
    """Sample rate, first data byte and number of data bytes of a 16-bit mono RIFF header.

    Raises:
        DataError: not such a header.
    """
    if header[:4] != b"RIFF" or header[8:12] != b"WAVE":
        raise DataError(f"{where}: no wave found at this offset; the archive changed or is damaged, run stage 2 again")
    position, rate = 12, 0
    while position + 8 <= len(header):
        name, size = header[position : position + 4], struct.unpack_from("<I", header, position + 4)[0]
        if name == b"fmt ":
            coding, channels, rate, _, _, bits = struct.unpack_from("<HHIIHH", header, position + 8)
            if (coding, channels, bits) != (1, 1, 16):
                raise DataError(f"{where}: expected 16-bit mono PCM, got {channels} channel(s) of {bits} bits")
        elif name == b"data":
            return rate, position + 8, size
        position += 8 + size + size % 2
    raise DataError(f"{where}: incomplete wave header; the archive is damaged, run stage 2 again")


def append_to_ark(stream: BinaryIO, utt_id: str, value: Any, compression: Optional[int] = None) -> int:
    """Append a matrix, or (rate, wave), to an open ark; returns its offset. Works for any path, unlike ``ark,scp:`` specifiers."""
    import kaldiio

    offset = stream.tell() + len(f"{utt_id} ".encode())
    kaldiio.save_ark(stream, {utt_id: value}, compression_method=compression)
    return offset


class WaveArchive:
    """Random access to the waves of a formatted data directory (``wav.scp`` of ``archive:offset``, ``utt2num_samples``).

    Args:
        path: the data directory that stage 2 wrote.

    Raises:
        DataError: missing or malformed files, by file and line.
    """

    def __init__(self, path: PathLike) -> None:
        self.path = Path(path)
        lengths = read_table(self.path / "utt2num_samples")
        scp = self.path / "wav.scp"
        table = read_table(scp)
        archives: Dict[str, int] = {}
        count = len(table)
        self._archive = np.empty(count, dtype=np.int32)
        self._offset = np.empty(count, dtype=np.int64)
        self.num_samples = np.empty(count, dtype=np.int64)
        for index, (utt, location) in enumerate(table.items()):
            archive, self._offset[index] = split_offset(location, f"{scp}:{index + 1}")
            self._archive[index] = archives.setdefault(archive, len(archives))
            length = lengths.get(utt, "")
            if not length.isdigit() or length == "0":
                raise DataError(f"{self.path / 'utt2num_samples'}: no sample count for {utt!r}; run stage 2 again")
            self.num_samples[index] = int(length)
        self.utt_ids: List[str] = list(table)
        self._paths = list(archives)
        self._files: Dict[int, int] = {}

    def __len__(self) -> int:
        return len(self.utt_ids)

    def read(self, index: int, start: int = 0, length: int = -1) -> np.ndarray:
        """Samples ``start`` to ``start + length`` (to the end with -1) of one utterance as int16.

        Raises:
            DataError: the archive is missing, truncated or was changed; names the utterance.
        """
        total = int(self.num_samples[index])
        length = total - start if length < 0 else min(length, total - start)
        where, file, offset = self._place(index)
        _, first, size = parse_wave_header(os.pread(file, _HEADER_BYTES, offset), where)
        if size != 2 * total:
            raise DataError(f"{where}: has {size // 2} samples, utt2num_samples says {total}; run stage 2 again")
        content = os.pread(file, 2 * length, offset + first + 2 * start)
        if len(content) != 2 * length:
            raise DataError(f"{where}: the archive ends early; it is truncated, run stage 2 again")
        return np.frombuffer(content, dtype="<i2")

    def check_rate(self, sample_rate: int) -> None:
        """Raise :class:`DataError` unless the waves are at ``sample_rate`` Hz (stage 2 writes all at one rate)."""
        where, file, offset = self._place(0)
        rate = parse_wave_header(os.pread(file, _HEADER_BYTES, offset), where)[0]
        if rate != sample_rate:
            raise DataError(f"{self.path}: waves at {rate} Hz, the frontend expects {sample_rate} Hz; run stage 2 with that rate")

    def state(self, indices: Sequence[int]) -> List[Any]:
        """What an output made of these utterances depends on: ids, lengths, and path, size and time of their archives."""
        used = sorted({int(self._archive[index]) for index in indices})
        files = [(self._paths[number], *_size_and_time(self._paths[number])) for number in used]
        return [files, [(self.utt_ids[index], int(self.num_samples[index])) for index in indices]]

    def _place(self, index: int) -> Tuple[str, int, int]:
        """Name for errors, open file and offset of an utterance."""
        offset = int(self._offset[index])
        where = f"{self.utt_ids[index]} ({self._paths[self._archive[index]]}:{offset})"
        return where, self._file(int(self._archive[index]), where), offset

    def _file(self, archive: int, where: str) -> int:
        if archive not in self._files:
            try:
                self._files[archive] = os.open(self._paths[archive], os.O_RDONLY)
            except OSError as error:
                raise DataError(f"{where}: cannot open the archive: {error.strerror}; run stage 2 again") from None
        return self._files[archive]

    def close(self) -> None:
        """Close the archive files."""
        for file in self._files.values():
            os.close(file)
        self._files.clear()


def _size_and_time(path: str) -> Tuple[int, int]:
    try:
        status = os.stat(path)
    except OSError:
        return -1, -1  # reading it will say so
    return status.st_size, status.st_mtime_ns
