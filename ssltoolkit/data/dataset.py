"""Batches of random segments, a pure function of seed and step.

Batch ``step`` always has the same clips and the same cuts. So resuming needs no loader state, and in distributed
training each process reads its own rows of the same global batch.
"""

from __future__ import annotations

import queue
import threading
import time
from typing import Any, Iterator, Optional, Sequence, Tuple

import numpy as np
import torch

from ssltoolkit.data.archive import WaveArchive
from ssltoolkit.data.segments import Batch, Cut, draw_starts
from ssltoolkit.data.transfer import on_device
from ssltoolkit.distributed.collectives import Shard
from ssltoolkit.errors import DataError

# Independent random streams of one seed.
EPOCH, STEP, VALID = 1, 2, 3


def _units(num_samples: np.ndarray, unit: int, segment: int) -> Tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Clip, first sample and length of every unit; see :class:`SegmentDataset`."""
    # Units are at least one segment long: a shorter one would be repeated although the clip continues.
    parts = (
        np.maximum(1, np.minimum(-(-num_samples // unit), num_samples // segment))
        if unit
        else np.ones_like(num_samples)
    )
    clip = np.repeat(np.arange(len(num_samples)), parts)
    place = np.arange(len(clip)) - np.repeat(np.cumsum(parts) - parts, parts)
    bounds = [place + step for step in (0, 1)]
    first, last = (bound * num_samples[clip] // parts[clip] for bound in bounds)
    return clip, first, last - first


def in_pairs(order: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Reorder units so that those of a group form adjacent pairs, and most pairs fall into the same batch.

    Args:
        order: (N,) units in random order.
        groups: (N,) group of each unit, indexed by unit; -1 for none.

    Example:
        >>> in_pairs(np.array([2, 0, 3, 1]), np.array([5, -1, 5, -1])).tolist()
        [2, 0, 3, 1]
        >>> in_pairs(np.array([0, 1, 2, 3]), np.array([5, -1, -1, 5])).tolist()
        [0, 3, 1, 2]
    """
    group, place = groups[order], np.arange(len(order))
    by_group = np.lexsort((place, group))
    grouped = group[by_group]
    first = np.searchsorted(grouped, grouped)  # start of each group
    second = ((place - first) % 2 == 1) & (grouped >= 0)
    moved = place.copy()
    moved[by_group[second]] = by_group[np.flatnonzero(second) - 1]
    return order[np.lexsort((place, moved))]


class SegmentDataset:
    """Random segments of a wave archive.

    If the archive has groups, batches are drawn so that most grouped clips come with another clip of their group.

    Args:
        archive: the corpus.
        cuts: segments to cut from every clip.
        batch_size: clips per batch (at most the number of clips).
        segment: length of every cut, samples.
        sample_rate: Hz.
        seed: seed of order and positions.
        short_clips: ``repeat`` or ``zero``.
        unit: samples; a longer clip is split into equal units of at most this length (longer if they would be shorter
            than a segment), so that a recording of ten minutes counts for more than one of ten seconds. 0 keeps every
            clip whole.

    Raises:
        DataError: fewer than two clips, so there would be no negatives.
    """

    def __init__(
        self,
        archive: WaveArchive,
        cuts: Sequence[Cut],
        batch_size: int,
        segment: int,
        sample_rate: int,
        seed: int,
        short_clips: str = "repeat",
        unit: int = 0,
    ) -> None:
        if len(archive) < 2:
            raise DataError(f"{archive.path}: {len(archive)} utterance(s); contrastive training needs at least 2")
        self.archive, self.cuts, self.segment = archive, list(cuts), segment
        self.sample_rate, self.seed, self.short_clips = sample_rate, seed, short_clips
        self._clip, self._first, self._length = _units(archive.num_samples, unit, segment)
        self.batch_size = min(batch_size, len(self._clip))
        self._orders: dict = {}
        #: index of the clip that is being read, or was read last
        self.reading = 0

    @property
    def batches_per_epoch(self) -> int:
        """Number of full batches per epoch; the clips left over differ between epochs."""
        return len(self._clip) // self.batch_size

    def indices(self, batch: int) -> np.ndarray:
        """(B,) units of the ``batch``-th training batch, all different."""
        epoch, place = divmod(batch, self.batches_per_epoch)
        return self._order(epoch)[place * self.batch_size : (place + 1) * self.batch_size]

    def _order(self, epoch: int) -> np.ndarray:
        if epoch not in self._orders:
            if len(self._orders) > 1:
                self._orders.pop(min(self._orders))
            self._orders[epoch] = self._drawn(np.random.default_rng([self.seed, EPOCH, epoch]))
        return self._orders[epoch]

    def _drawn(self, rng: np.random.Generator) -> np.ndarray:
        order = rng.permutation(len(self._clip))
        return order if self.archive.groups is None else in_pairs(order, self.archive.groups[self._clip])

    def batch(self, number: int) -> Batch:
        """The ``number``-th training batch."""
        return self._read(self.indices(number), [self.seed, STEP, number])

    def validation(self) -> Iterator[Batch]:
        """Every unit once, with fixed cuts and transforms, in batches of similar size, none with a single clip."""
        count = len(self._clip)
        parts = np.array_split(np.arange(count), min(-(-count // self.batch_size), count // 2))
        for number, part in enumerate(parts):
            yield self._read(part, [self.seed, VALID, number])

    def _read(self, indices: np.ndarray, seed: Sequence[int]) -> Batch:
        rng = np.random.default_rng(seed)
        clips, first = self._clip[indices], self._first[indices]
        starts = draw_starts(self.cuts, self._length[indices], self.segment, self.sample_rate, rng)
        starts = {cut: start + first for cut, start in starts.items()}
        shard = Shard.of(len(indices))
        rows = np.arange(len(indices)) if shard is None else shard.take(np.arange(len(indices)))
        waves = {}
        for cut, start in starts.items():
            block = np.empty((len(rows), self.segment), dtype=np.int16)
            for row, (clip, begin) in enumerate(zip(clips[rows], start[rows])):
                self.reading = clip
                block[row] = self._fit(self.archive.read(int(clip), int(begin), self.segment))
            waves[cut] = torch.from_numpy(block.astype(np.float32) / 32768.0)
        seconds = {cut: start / self.sample_rate for cut, start in starts.items()}
        utt_ids = [self.archive.utt_ids[clip] for clip in clips]
        groups = None if self.archive.groups is None else self.archive.groups[clips]
        return Batch(waves, seconds, list(seed), utt_ids, shard, self._periods(self._length[indices]), groups)

    def _periods(self, lengths: np.ndarray) -> np.ndarray:
        repeated = (lengths < self.segment) & (self.short_clips == "repeat")
        return np.where(repeated, lengths / self.sample_rate, np.inf)

    def _fit(self, samples: np.ndarray) -> np.ndarray:
        if len(samples) >= self.segment:
            return samples
        if self.short_clips == "repeat":
            return np.resize(samples, self.segment)
        return np.pad(samples, (0, self.segment - len(samples)))


class Upload:
    """Copies batches to a GPU while it computes.

    Args:
        device: the GPU.
    """

    def __init__(self, device: torch.device) -> None:
        self.device, self.stream = device, torch.cuda.Stream(device)

    def start(self, batch: Batch) -> Tuple[Batch, Any]:
        """Start copying a batch; returns it and the event that marks the end of the copy."""
        with torch.cuda.stream(self.stream):
            batch.waves = {cut: on_device(wave, self.device) for cut, wave in batch.waves.items()}
            return batch, self.stream.record_event()

    def finish(self, started: Tuple[Batch, Any]) -> Batch:
        """Make the current stream wait for the copy, without blocking the host; returns the batch."""
        batch, copied = started
        current = torch.cuda.current_stream(self.device)
        current.wait_event(copied)
        for wave in batch.waves.values():
            wave.record_stream(current)  # keep the memory until this stream has read it
        return batch


class Prefetcher:
    """Reads batches ``first``, ``first + 1``, ... ahead in one thread, in order.

    Reading is file access and NumPy copies, which release the GIL: a thread keeps up with two cores of computation and,
    unlike worker processes, has no start-up cost. For a GPU the thread also pins and copies batches on its own stream
    while earlier steps are computed.

    Args:
        dataset: the dataset to read.
        first: number of the first batch.
        depth: number of batches to read ahead.
        device: device to copy the waves to; None or the CPU for no copy.
    """

    def __init__(
        self, dataset: SegmentDataset, first: int, depth: int = 4, device: Optional[torch.device] = None
    ) -> None:
        self._upload = Upload(device) if device is not None and device.type == "cuda" else None
        self._queue: "queue.Queue" = queue.Queue(depth)
        self._stop, self._dataset = threading.Event(), dataset
        self._thread = threading.Thread(target=self._work, args=(dataset, first), daemon=True)
        self._thread.start()

    def _work(self, dataset: SegmentDataset, number: int) -> None:
        while not self._stop.is_set():
            try:
                batch = dataset.batch(number)
                item: object = batch if self._upload is None else self._upload.start(batch)
            except BaseException as error:  # passed to the consumer, which raises it
                item = error
            while not self._stop.is_set():
                try:
                    self._queue.put(item, timeout=0.2)
                    break
                except queue.Full:
                    continue
            if isinstance(item, BaseException):
                return
            number += 1

    def next(self, timeout: float = 300.0) -> Batch:
        """The next batch.

        Raises:
            DataError: reading failed, the reader died, or no batch arrived within ``timeout`` seconds; names the clip
                that was being read.
        """
        deadline = time.monotonic() + timeout
        while True:
            left = deadline - time.monotonic()
            try:
                item = self._queue.get(timeout=max(0.0, min(1.0, left)))
                break
            except queue.Empty:
                at = f"at utterance {self._dataset.archive.utt_ids[self._dataset.reading]!r}"
                if not self._thread.is_alive() and self._queue.empty():
                    raise DataError(
                        f"the reader of batches died {at}; run the same command again to continue"
                    ) from None
                if left <= 0:
                    raise DataError(
                        f"no batch within {timeout:g} s: the storage does not answer {at}; check the disk of the "
                        "archives, or raise training.loader_timeout"
                    ) from None
        if isinstance(item, BaseException):
            raise item
        return item if self._upload is None else self._upload.finish(item)

    def close(self) -> None:
        """Stop reading ahead."""
        self._stop.set()
        self._thread.join(timeout=5.0)
