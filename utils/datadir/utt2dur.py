"""get_utt2dur.sh: writes utt2dur, the duration of every utterance in seconds."""

from __future__ import annotations

import os
import wave
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Dict, Sequence

from datadir.arguments import Parser
from datadir.tables import UsageError, read_table, show, table_lines, write_lines
from ssltoolkit.data.tables import check_segment, check_wav, is_command, segment_of


def main(arguments: Sequence[str]) -> int:
    parser = Parser(
        "get_utt2dur.sh",
        "Writes utt2dur of a data directory, from segments if it has them, otherwise from the "
        "headers of the audio in wav.scp. A utt2dur that already has the right utterances is kept.",
    )
    parser.add_argument("data_dir", type=Path)
    parser.add_argument("--nj", type=int, default=8, help="files to read in parallel (default 8)")
    parser.add_argument("--force", action="store_true", help="write it again in any case")
    args = parser.parse_args(arguments)
    if args.nj < 1:
        parser.error("--nj must be 1 or more")
    target = args.data_dir / "utt2dur"
    segments, scp = args.data_dir / "segments", args.data_dir / "wav.scp"
    source = read_table(segments if segments.is_file() else scp)
    if not args.force and target.is_file() and set(read_table(target)) == set(source):
        print(f"get_utt2dur.sh: {target} has all {len(source)} utterances; unchanged")
        return 0
    if segments.is_file():
        durations = _of_segments(segments, scp, source, args.nj)
    else:
        durations = _of_files(scp, source, args.nj)
    write_lines(target, table_lines({k: b"%.6f" % v for k, v in durations.items()}))
    hours = sum(durations.values()) / 3600
    print(f"get_utt2dur.sh: {target}: {len(durations)} utterances, {hours:.2f} hours")
    return 0


def _of_segments(path: Path, scp: Path, table: Dict[bytes, bytes], workers: int) -> Dict[bytes, float]:
    """Durations from segments; reads the audio only if a segment extends to the end of its recording."""
    spans = {}
    for key, value in table.items():
        fault = check_segment(value)
        if fault is not None:
            raise UsageError(f"{path}: {show(key)}: {fault}")
        spans[key] = segment_of(value)
    whole = {recording for recording, _, end in spans.values() if end is None}
    lengths: Dict[bytes, float] = {}
    if whole:
        recordings = read_table(scp)
        for key, (recording, _, end) in spans.items():
            if end is None and recording not in recordings:
                raise UsageError(f"{path}: {show(key)}: {show(recording)} is not in wav.scp")
        lengths = _of_files(scp, {name: recordings[name] for name in whole}, workers)
    durations = {}
    for key, (recording, start, end) in spans.items():
        durations[key] = (lengths[recording] if end is None else end) - start
        if durations[key] <= 0:
            raise UsageError(f"{path}: {show(key)}: starts at {start:g} s, after its recording ends")
    return durations


def _of_files(scp: Path, table: Dict[bytes, bytes], workers: int) -> Dict[bytes, float]:
    def measure(item) -> float:
        key, value = item
        try:
            fault = check_wav(value)
            if fault is not None:
                raise UsageError(fault)
            if is_command(value):
                raise UsageError("a command (it ends in '|'), which was not run")
            return audio_seconds(os.fsdecode(value))
        except (UsageError, OSError, EOFError, RuntimeError, wave.Error) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else error
            raise UsageError(f"{scp}: {show(key)}: {show(value)}: {reason}; fix or remove this recording") from None

    with ThreadPoolExecutor(workers) as pool:
        return dict(zip(table, pool.map(measure, table.items())))


def audio_seconds(name: str) -> float:
    """Seconds of audio in a file, or in the wave at `archive:offset`, from its header.

    Raises OSError, RuntimeError (soundfile), wave.Error or UsageError if it cannot be read
    or contains no audio.
    """
    archive, colon, offset = name.rpartition(":")
    if colon and archive and offset.isdigit():
        with open(archive, "rb") as stream:
            stream.seek(int(offset))
            frames, rate = _wave_header(stream)
    else:
        frames, rate = _file_header(name)
    if frames <= 0 or rate <= 0:
        raise UsageError("it contains no audio")
    return frames / rate


def _wave_header(stream):
    with wave.open(stream) as audio:
        return audio.getnframes(), audio.getframerate()


def _file_header(name: str):
    try:
        import soundfile
    except ImportError:
        if not name.lower().endswith(".wav"):
            raise UsageError("needs the Python package soundfile; run tools/setup.sh") from None
        with open(name, "rb") as stream:
            return _wave_header(stream)
    if not os.path.isfile(name):
        raise UsageError("no such file")
    from ssltoolkit.data.audio import duration

    # Handle headers without a length, and macOS companion files, like the programs.
    seconds = duration(name)
    if seconds is not None:
        return seconds, 1
    info = soundfile.info(name)
    return info.frames, info.samplerate
