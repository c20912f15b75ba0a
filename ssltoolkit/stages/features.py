"""Stage 3: log-mel archives and their global statistics from wave archives."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, Optional, Sequence, Tuple, Union

import numpy as np

from ssltoolkit.data import shards
from ssltoolkit.data.archive import WaveArchive, append_to_ark
from ssltoolkit.data.datadir import write_table
from ssltoolkit.data.statistics import Sums
from ssltoolkit.errors import UserError

if TYPE_CHECKING:  # merging shards needs no torch
    from ssltoolkit.frontends.logmel import LogMel

PathLike = Union[str, Path]
#: kaldiio's ``compression_method`` by name
COMPRESSION = {"none": None, "speech": 2, "uint16": 3, "uint8": 5}
STATISTICS = "stats.npz"
SHARDS = "shards"


@dataclass(frozen=True)
class FeatureOptions:
    """Options of ``ssltoolkit features``.

    Attributes:
        config: YAML configuration with the frontend. overrides: changes of its keys, ``KEY=VALUE``.
        data_dir: output directory of stage 2. out_dir: folder for ``feats.scp`` and ``stats.npz``.
        compression: compression of the archives, a key of ``COMPRESSION``.
        jobs: number of jobs that share the work. job: run only this job, 1 to ``jobs``; None: all, then merge.
        merge: only merge the output of the jobs.
    """

    config: PathLike
    data_dir: PathLike
    out_dir: PathLike
    overrides: Sequence[str] = ()
    compression: str = "none"
    jobs: int = 1
    job: Optional[int] = None
    merge: bool = False


def write_features(options: FeatureOptions) -> Optional[Sums]:
    """Run ``ssltoolkit features``; returns the statistics, None after one job's share.

    Raises:
        DataError: malformed input, or waves at a rate other than the frontend's.
        UserError: a wrong configuration, a missing shard, or no utterance of at least one frame.
    """
    if not options.merge:
        import torch

        from ssltoolkit.config import load_config
        from ssltoolkit.model import build_frontend

        torch.set_num_threads(1)  # parallelism comes from the jobs
        frontend = build_frontend(load_config(options.config, options.overrides))
        writer = FeatureWriter(options.data_dir, options.out_dir, frontend, options.compression)
        for job in [options.job] if options.job is not None else range(1, options.jobs + 1):
            writer.run_job(job, options.jobs)
    return merge_features(options.data_dir, options.out_dir) if options.job is None else None


class FeatureWriter:
    """Log-mel (before normalisation) of a formatted data directory.

    Args:
        data_dir: output directory of stage 2.
        out_dir: folder for the shards and, after :func:`merge_features`, for ``feats.scp``, ``utt2num_frames`` and
            ``stats.npz`` (sums, squares and count per band).
        frontend: frontend that computes the features.
        compression: compression of the archives: none (float32), or one of Kaldi's 8- and 16-bit formats.

    Raises:
        DataError: malformed input, or waves at a rate other than the frontend's.
    """

    def __init__(self, data_dir: PathLike, out_dir: PathLike, frontend: LogMel, compression: str = "none") -> None:
        self.archive, self.out, self.frontend = WaveArchive(data_dir), Path(out_dir), frontend
        self.archive.check_rate(frontend.sample_rate)
        self.compression = compression
        self.records = self.out / SHARDS
        self._rows = {utt: index for index, utt in enumerate(self.archive.utt_ids)}

    def run_job(self, job: int, jobs: int) -> None:
        """Write this job's unfinished shards."""
        from tqdm import tqdm

        self.records.mkdir(parents=True, exist_ok=True)
        utt_ids = self.archive.utt_ids
        todo = [
            (number, utts) for number, utts in shards.shards_of(utt_ids, job, jobs) if not self._finished(number, utts)
        ]
        with tqdm(total=sum(len(utts) for _, utts in todo), unit="utt", desc="features", mininterval=1.0) as bar:
            for number, utts in todo:
                self._write_shard(number, utts, bar)

    def _key(self, utts: Sequence[str]) -> str:
        settings = {key: value for key, value in vars(self.frontend).items() if isinstance(value, (int, float, str))}
        waves = self.archive.state([self._rows[utt] for utt in utts])
        edges = self.frontend.edges.tolist()
        return shards.input_key("features", settings, edges, self.compression, waves)

    def _finished(self, number: int, utts: Sequence[str]) -> bool:
        record = shards.read_record(shards.record_path(self.records, number), self._key(utts))
        ark = _ark(self.out, number)
        return (
            record is not None
            and _sums(self.out, number).is_file()
            and ark.is_file()
            and ark.stat().st_size == record["bytes"]
        )

    def _write_shard(self, number: int, utts: Sequence[str], bar: Any) -> None:
        ark = _ark(self.out, number)
        sums = Sums.zeros(self.frontend.n_mels)
        written: Dict[str, Tuple[int, int]] = {}
        place = shards.record_path(self.records, number)
        with shards.unfinished(place, ark) as stream:
            for utt in utts:
                features = self._features(self._rows[utt])
                sums.add(features)
                written[utt] = (append_to_ark(stream, utt, features, COMPRESSION[self.compression]), len(features))
                bar.update(1)
        sums.save(_sums(self.out, number))
        record = {"key": self._key(utts), "bytes": ark.stat().st_size, "utts": written}
        shards.write_record(place, record)

    def _features(self, row: int) -> np.ndarray:
        import torch

        wave = torch.from_numpy(self.archive.read(row).astype(np.float32) / 32768.0)
        if len(wave) < self.frontend.hop_length:  # shorter than one frame: pad to one frame
            wave = torch.nn.functional.pad(wave, (0, self.frontend.hop_length - len(wave)))
        with torch.inference_mode():
            return self.frontend.logmel(self.frontend.leveled(wave[None]))[0].numpy()


def merge_features(data_dir: PathLike, out_dir: PathLike) -> Sums:
    """Merge the shards of all jobs into one feature directory; returns the statistics.

    Raises:
        DataError: malformed input.
        UserError: a shard is missing, or no utterance has a full frame.
    """
    waves, out = WaveArchive(data_dir), Path(out_dir)
    count = shards.shard_count(waves.utt_ids)
    locations: Dict[str, str] = {}
    frames: Dict[str, str] = {}
    for number, record in enumerate(shards.read_all_records(out / SHARDS, count, "stage 3"), 1):
        archive = _ark(out, number).resolve()
        locations.update({utt: f"{archive}:{offset}" for utt, (offset, _) in record["utts"].items()})
        frames.update({utt: str(length) for utt, (_, length) in record["utts"].items()})
    sums = Sums.merged(Sums.load(_sums(out, number)) for number in range(1, count + 1))
    if sums.count == 0:
        raise UserError(f"{waves.path}: every utterance is shorter than one frame; no features can be made")
    sums.save(out / STATISTICS)
    write_table(out / "utt2num_frames", frames)
    write_table(out / "feats.scp", locations)
    return sums


def _ark(out: Path, number: int) -> Path:
    return out / f"feats.{number:05d}.ark"


def _sums(out: Path, number: int) -> Path:
    return out / SHARDS / f"stats.{number:05d}.npz"
