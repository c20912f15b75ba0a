"""Speed of feature extraction on one core, in times real time: compressed 44.1 kHz files to log-mel archives, and wave
archives to log-mel.

The reference works file by file: soundfile, scipy's polyphase resampling, and log-mel in NumPy written from the
equations. ``--nj 2`` is measured as two processes that start together, against one process that does both shares."""

from __future__ import annotations

import itertools
import multiprocessing
import shutil
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
from common import alternate, alternate_values, one_core, parse, parser, rate, write_row
from material import write_archive, write_files
from reference import ItemRenderer

from ssltoolkit.data.archive import WaveArchive, append_to_ark
from ssltoolkit.data.shards import SHARD_SIZE
from ssltoolkit.frontends.logmel import LogMel
from ssltoolkit.stages.features import FeatureWriter, merge_features
from ssltoolkit.stages.format import Formatter
from ssltoolkit.transforms.views import View

SOURCE_RATE, TARGET_RATE = 44100, 16000
JOB_SECONDS = 600  # timeout of a job


def our_features(waves: Path, out: Path, jobs: int = 1) -> None:
    """Stage 3."""
    writer = FeatureWriter(waves, out, LogMel())
    for job in range(1, jobs + 1):
        writer.run_job(job, jobs)
    merge_features(waves, out)


def our_pipeline(source: Path, out: Path) -> None:
    """Stages 2 and 3."""
    formatter = Formatter(source, out / "waves", TARGET_RATE)
    formatter.run_job(1, 1)
    formatter.finish(0.0)
    our_features(out / "waves", out / "features")


def plain_pipeline(source: Path, out: Path, plain: ItemRenderer) -> None:
    """Write one file after another to one log-mel archive."""
    import soundfile
    from scipy.signal import resample_poly

    out.mkdir(parents=True)
    with open(out / "feats.ark", "wb") as stream:
        for line in (source / "wav.scp").read_text().splitlines():
            utt, path = line.split(None, 1)
            wave, _ = soundfile.read(path)
            wave = resample_poly(wave, TARGET_RATE // 100, SOURCE_RATE // 100)
            append_to_ark(stream, utt, plain.log_mel(wave))


def plain_features(waves: Path, out: Path, plain: ItemRenderer) -> None:
    """Write one utterance after another."""
    out.mkdir(parents=True)
    archive = WaveArchive(waves)
    with open(out / "feats.ark", "wb") as stream:
        for index, utt in enumerate(archive.utt_ids):
            append_to_ark(stream, utt, plain.log_mel(archive.read(index) / np.float32(32768.0)))
    archive.close()


def _job(waves: Path, out: Path, share: range, jobs: int, start, done) -> None:
    """A process of the ``--nj`` measurement, which excludes imports and shutdown."""
    one_core()
    writer = FeatureWriter(waves, out, LogMel())
    start.wait()
    for job in share:
        writer.run_job(job, jobs)
    done.wait()


def together(waves: Path, out: Path, processes: int) -> float:
    """Seconds that ``processes`` processes take to write the two shares."""
    context = multiprocessing.get_context("spawn")
    start, done = context.Barrier(processes + 1), context.Barrier(processes + 1)
    shares = [range(1, 3)] if processes == 1 else [range(1, 2), range(2, 3)]
    workers = [context.Process(target=_job, args=(waves, out, share, 2, start, done)) for share in shares]
    for worker in workers:
        worker.start()
    start.wait()
    started = time.perf_counter()
    try:
        done.wait(JOB_SECONDS)
    except threading.BrokenBarrierError:
        raise RuntimeError("a job failed") from None
    elapsed = time.perf_counter() - started
    for worker in workers:
        worker.join()
    if any(worker.exitcode for worker in workers):
        raise RuntimeError("a job failed")
    shutil.rmtree(out)
    return elapsed


def main() -> None:
    """Measure all four figures."""
    options = parser(__doc__, files=(120, 12), seconds=(10, 5), utts=(2 * SHARD_SIZE, 40), utt_seconds=(10, 10))
    options.add_argument("--nj", type=int, default=1, choices=[0, 1], help="0 skips the measurement of --nj 2")
    args = parse(options)
    one_core()
    plain = ItemRenderer(LogMel(), [View()])
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        fresh = (folder / f"out{number}" for number in itertools.count())
        for extension in ("flac", "ogg"):
            source = write_files(folder / extension, args.files, args.seconds, SOURCE_RATE, extension)
            times = alternate(
                lambda folder=source: our_pipeline(folder, next(fresh)),
                lambda folder=source: plain_pipeline(folder, next(fresh), plain),
                args.repeats,
            )
            length = args.files * args.seconds
            figure = (
                f"{length} s of 44.1 kHz {extension} to log-mel archives (decoded, resampled, stored twice), one core"
            )
            write_row(args, figure, times, rate(length, times, "x real time a core"))
        waves = write_archive(folder / "waves", args.utts, args.utt_seconds)
        times = alternate(
            lambda: our_features(waves, next(fresh)), lambda: plain_features(waves, next(fresh), plain), args.repeats
        )
        length = args.utts * args.utt_seconds
        write_row(
            args,
            f"{length} s of wave archive to log-mel archive, one core",
            times,
            rate(length, times, "x real time a core"),
        )
        if args.nj:
            # The archive has only one shard: use another one with more, shorter utterances.
            if args.utts <= SHARD_SIZE:
                waves = write_archive(folder / "short", 2 * SHARD_SIZE, 2.0)
                length = 4 * SHARD_SIZE
            outs = (folder / f"jobs{number}" for number in itertools.count())
            times = alternate_values(
                lambda: together(waves, next(outs), 2), lambda: together(waves, next(outs), 1), args.repeats
            )
            write_row(
                args,
                f"{length} s of wave archive to log-mel, --nj 2 against --nj 1",
                times,
                rate(length, times, "x real time"),
            )


if __name__ == "__main__":
    main()
