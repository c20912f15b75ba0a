"""Wave archives: kaldiio arks of 16-bit mono waves with random access to segments.

The index of a corpus is a few flat arrays of tens of bytes per utterance, and a segment is read with one ``pread``, so
audio of any size needs little memory."""

from __future__ import annotations

import hashlib
import io
import os
import struct
import sys
from array import array
from pathlib import Path
from typing import Any, BinaryIO, Dict, Iterator, List, Optional, Sequence, Tuple, Union

import numpy as np

from ssltoolkit.data.datadir import read_lines, read_table
from ssltoolkit.data.tables import check_archive, check_num_samples
from ssltoolkit.errors import DataError

PathLike = Union[str, Path]
_HEADER_BYTES = 256
#: archives open at a time; a corpus of millions of utterances has thousands, and systems allow about 1,000 open files
_OPEN_FILES = 128
#: table of utterance groups, for samplers that take positives from other utterances
GROUPS = "utt2group"
#: sorts after every id
_LAST = chr(sys.maxunicode)


def split_offset(location: str, path: Path, number: int) -> Tuple[str, int]:
    """``archive:offset`` of line ``number`` of an scp file.

    Raises:
        DataError: no numeric offset.
    """
    archive, _, offset = location.rpartition(":")
    if check_archive(location.encode()) is not None:
        raise DataError(
            f"{path}:{number}: expected 'archive:offset', got {location!r}; run stage 2 to make wave archives"
        )
    return archive, int(offset)


def _sorted_entries(path: Path) -> Iterator[Tuple[int, str, str]]:
    """Line number, id and value of each line of a table; checks that ids are unique and in byte order."""
    previous = ""
    for number, line in read_lines(path):
        parts = line.split(None, 1)
        if len(parts) != 2 or line[0].isspace():
            raise DataError(f"{path}:{number}: expected 'id value', got {line[:60]!r}")
        if parts[0] <= previous:
            raise DataError(
                f"{path}:{number}: id {parts[0]!r} appears twice; keep one line for each id"
                if parts[0] == previous
                else f"{path}:{number}: id {parts[0]!r} comes after {previous!r}; sort the file with LC_ALL=C sort, "
                "or run stage 2 again"
            )
        previous = parts[0]
        yield number, previous, parts[1].rstrip()


def parse_wave_header(header: bytes, where: str) -> Tuple[int, int, int]:
    """Sample rate, first data byte and number of data bytes of a 16-bit mono RIFF header.

    Raises:
        DataError: not a 16-bit mono RIFF header.
    """
    if header[:4] != b"RIFF" or header[8:12] != b"WAVE":
        raise DataError(f"{where}: no wave found at this offset; the archive changed or is damaged, run stage 2 again")
    position, rate = 12, 0
    while position + 8 <= len(header):
        name, size = header[position : position + 4], struct.unpack_from("<I", header, position + 4)[0]
        if name == b"fmt " and position + 24 <= len(header):
            coding, channels, rate, _, _, bits = struct.unpack_from("<HHIIHH", header, position + 8)
            if (coding, channels, bits) != (1, 1, 16):
                raise DataError(f"{where}: expected 16-bit mono PCM, got {channels} channel(s) of {bits} bits")
        elif name == b"data":
            return rate, position + 8, size
        position += 8 + size + size % 2
    raise DataError(f"{where}: incomplete wave header; the archive is damaged, run stage 2 again")


def append_to_ark(stream: BinaryIO, utt_id: str, value: Any, compression: Optional[int] = None) -> int:
    """Append a matrix, or (rate, wave), to an open ark; returns its offset. Unlike ``ark,scp:`` specifiers, this works
    for any path.
    """
    import kaldiio

    offset = stream.tell() + len(f"{utt_id} ".encode())
    # Write to memory first: on a full disk the standard library's wave writer prints a traceback.
    entry = io.BytesIO()
    kaldiio.save_ark(entry, {utt_id: value}, compression_method=compression)
    stream.write(entry.getbuffer())
    return offset


class WaveArchive:
    """Random access to the waves of a formatted data directory (``wav.scp`` of ``archive:offset``,
    ``utt2num_samples``). Read it from one thread at a time.

    Args:
        path: the data directory that stage 2 wrote.

    Attributes:
        groups: (N,) int64, group index of each utterance, -1 for none; None until :meth:`read_groups`.

    Raises:
        DataError: missing, empty or malformed files; names file and line.
    """

    def __init__(self, path: PathLike) -> None:
        self.groups: Optional[np.ndarray] = None
        self.path = Path(path)
        scp = self.path / "wav.scp"
        if not scp.exists():
            raise DataError(f"{scp}: no such file; prepare the data directory first (stages 1 and 2)")
        archives: Dict[str, int] = {}
        offsets, numbers, samples = array("q"), array("i"), array("q")
        self.utt_ids: List[str] = []
        lengths = _sorted_entries(self.path / "utt2num_samples")
        known, length = "", ""
        for number, utt, location in _sorted_entries(scp):
            archive, offset = split_offset(location, scp, number)
            while known < utt:  # both files are sorted: merge them in one pass
                _, known, length = next(lengths, (0, _LAST, ""))
            if known != utt or check_num_samples(length.encode()) is not None:
                raise DataError(f"{self.path / 'utt2num_samples'}: no sample count for {utt!r}; run stage 2 again")
            self.utt_ids.append(utt)
            offsets.append(offset)
            numbers.append(archives.setdefault(archive, len(archives)))
            samples.append(int(length))
        if not self.utt_ids:
            raise DataError(f"{scp}: no utterances; the file is empty, run stages 1 and 2 again")
        for _ in lengths:  # run the generator to its end, so that it checks all lines
            pass
        self._offset, self._archive = np.array(offsets, dtype=np.int64), np.array(numbers, dtype=np.int32)
        self.num_samples = np.array(samples, dtype=np.int64)
        self._paths = list(archives)
        self._files: Dict[int, int] = {}  # archive -> descriptor, the longest unused one first
        self._opened: Dict[int, Tuple[int, int]] = {}  # archive -> size and time when it was first opened

    def __len__(self) -> int:
        return len(self.utt_ids)

    def read(self, index: int, start: int = 0, length: int = -1) -> np.ndarray:
        """Samples ``start`` to ``start + length`` (to the end with -1) of one utterance as int16.

        Raises:
            DataError: the archive is missing, truncated or has changed; names the utterance.
        """
        total = int(self.num_samples[index])
        length = total - start if length < 0 else min(length, total - start)
        where, file, offset = self._place(index)
        _, first, size = parse_wave_header(self._bytes(file, _HEADER_BYTES, offset, where), where)
        if size != 2 * total:
            raise DataError(f"{where}: has {size // 2} samples, utt2num_samples says {total}; run stage 2 again")
        content = self._bytes(file, 2 * length, offset + first + 2 * start, where)
        if len(content) != 2 * length:
            raise DataError(f"{where}: the archive ends early; it is truncated, run stage 2 again")
        if _size_and_time(file) != self._opened[int(self._archive[index])]:
            raise DataError(
                f"{where}: the archive was changed while it was being read; let stage 2 finish, then run this again"
            )
        return np.frombuffer(content, dtype="<i2")

    def check_rate(self, sample_rate: int) -> None:
        """Raise :class:`DataError` unless the waves are at ``sample_rate`` Hz; stage 2 writes all at one rate."""
        where, file, offset = self._place(0)
        rate = parse_wave_header(self._bytes(file, _HEADER_BYTES, offset, where), where)[0]
        if rate != sample_rate:
            raise DataError(
                f"{self.path}: waves at {rate} Hz, the frontend expects {sample_rate} Hz; run stage 2 with that rate"
            )

    def read_groups(self, needed: bool = True) -> None:
        """Read ``utt2group``, which has a line ``utterance group`` for each utterance in a group.

        Args:
            needed: whether some group must have two of the utterances.

        Raises:
            DataError: no such file, or a malformed one; names file and line.
        """
        path = self.path / GROUPS
        if not path.is_file():
            raise DataError(
                f"{path}: no such file; a sampler of this configuration takes positives from it: write one line "
                "'utterance group' for each utterance in a group, or use the sampler 'clip'"
            )
        table = read_table(path)
        numbers = {group: number for number, group in enumerate(sorted(set(table.values())))}
        self.groups = np.array([numbers.get(table.get(utt, ""), -1) for utt in self.utt_ids], dtype=np.int64)
        there = np.unique(self.groups[self.groups >= 0], return_counts=True)[1]
        if needed and not (there > 1).any():
            raise DataError(
                f"{path}: no group has two of the {len(self)} utterances; utterances of a group need the same "
                "second column"
            )

    def state(self, indices: Sequence[int]) -> List[Any]:
        """State of these utterances for change detection: ids, lengths, and path, size and time of their archives."""
        used = sorted({int(self._archive[index]) for index in indices})
        files = [(self._paths[number], *_size_and_time(self._paths[number])) for number in used]
        return [files, [(self.utt_ids[index], int(self.num_samples[index])) for index in indices]]

    def contents(self) -> str:
        """Fingerprint of the utterances, independent of paths: their number, and a hash of ids and lengths."""
        digest = hashlib.sha256(self.num_samples.astype("<i8").tobytes())
        for utt in self.utt_ids:
            digest.update(f"{utt}\n".encode())
        if self.groups is not None:
            digest.update(self.groups.astype("<i8").tobytes())
        return f"{len(self)} utterances, {digest.hexdigest()[:12]}"

    def _place(self, index: int) -> Tuple[str, int, int]:
        """Name for errors, open file and offset of an utterance."""
        offset = int(self._offset[index])
        where = f"{self.utt_ids[index]} ({self._paths[self._archive[index]]}:{offset})"
        return where, self._file(int(self._archive[index]), where), offset

    def _file(self, archive: int, where: str) -> int:
        file = self._files.pop(archive, None)
        if file is None:
            if len(self._files) >= _OPEN_FILES:
                os.close(self._files.pop(next(iter(self._files))))
            try:
                # Without O_NONBLOCK, opening a named pipe would wait for its writer.
                file = os.open(self._paths[archive], os.O_RDONLY | os.O_NONBLOCK)
            except (OSError, ValueError) as error:
                reason = getattr(error, "strerror", None) or str(error)
                raise DataError(f"{where}: cannot open the archive: {reason}; run stage 2 again") from None
            self._opened.setdefault(archive, _size_and_time(file))
        self._files[archive] = file
        return file

    @staticmethod
    def _bytes(file: int, count: int, offset: int, where: str) -> bytes:
        try:
            return os.pread(file, count, offset)
        except OSError as error:
            raise DataError(f"{where}: cannot read the archive: {error.strerror}; run stage 2 again") from None

    def close(self) -> None:
        """Close the archive files."""
        for file in self._files.values():
            os.close(file)
        self._files.clear()


def _size_and_time(path: Union[str, int]) -> Tuple[int, int]:
    try:
        status = os.stat(path)
    except (OSError, ValueError):  # no such file, or an invalid name
        return -1, -1  # reading it will raise an error
    return status.st_size, status.st_mtime_ns
