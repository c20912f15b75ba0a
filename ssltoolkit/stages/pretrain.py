"""Stage 4: pre-training, from a resolved configuration and data directories to an experiment folder."""

from __future__ import annotations

import contextlib
import random
from pathlib import Path
from typing import Any, Iterator, Mapping, Optional, Union

import numpy as np
import torch

from ssltoolkit.data.archive import GROUPS, WaveArchive
from ssltoolkit.data.dataset import SegmentDataset
from ssltoolkit.data.statistics import load_statistics
from ssltoolkit.distributed.collectives import all_or_raise, from_main, is_main, process_group, world_size
from ssltoolkit.errors import UserError
from ssltoolkit.model import SSLModel
from ssltoolkit.precision import uses_bfloat16
from ssltoolkit.training.allocator import keep_memory
from ssltoolkit.training.devices import own_device
from ssltoolkit.training.faults import out_of_memory
from ssltoolkit.training.lock import RunLock
from ssltoolkit.training.trainer import Trainer

PathLike = Union[str, Path]


def build_model(config: Mapping[str, Any], stats: Optional[PathLike] = None) -> SSLModel:
    """Build a model with weights from ``training.seed`` and, if given, global statistics."""
    torch.manual_seed(config["training"]["seed"])
    np.random.seed(config["training"]["seed"] % 2**32)  # for plugins that use NumPy's global generator, or Python's
    random.seed(config["training"]["seed"])
    with _fitting_in_memory("the model"):
        model = SSLModel(config)
    if stats is not None:
        mean, std = load_statistics(stats, model.frontend.n_mels)
        model.frontend.set_statistics(mean, std)
    return model


@contextlib.contextmanager
def _fitting_in_memory(what: str) -> Iterator[None]:
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not out_of_memory(error):
            raise
        raise UserError(f"out of memory: {what} does not fit; make the encoder and the heads smaller") from None


def pretrain(
    config: Mapping[str, Any],
    exp_dir: PathLike,
    train_dir: PathLike,
    valid_dir: Optional[PathLike] = None,
    stats: Optional[PathLike] = None,
) -> None:
    """Train to the end, continuing from the last checkpoint if there is one; supports distributed training.

    Raises:
        UserError: unusable data, configuration or checkpoint, or another run in this folder.
        Interrupted: a signal was received; the state is saved.
        LostPeer: another process of this run ended.
    """
    settings = config["training"]
    if settings["threads"]:
        torch.set_num_threads(settings["threads"])
    device = own_device(settings["device"])
    if device.type == "cpu":
        keep_memory()
    with contextlib.ExitStack() as stack:
        stack.enter_context(process_group(device))
        lock = RunLock(exp_dir)
        from_main(lock.acquire)
        stack.callback(lock.release)
        Trainer(*all_or_raise(lambda: _prepare(config, exp_dir, train_dir, valid_dir, stats, device))).fit()


def _prepare(
    config: Mapping[str, Any],
    exp_dir: PathLike,
    train_dir: PathLike,
    valid_dir: Optional[PathLike],
    stats: Optional[PathLike],
    device: torch.device,
) -> tuple:
    """Build the :class:`Trainer`."""
    settings = config["training"]
    precision = "bf16" if uses_bfloat16(settings["precision"], device.type) else "fp32"
    model = build_model(config, stats)
    with _fitting_in_memory(f"the model on {device}"):
        model = model.to(device)
    train, valid = _dataset(model, settings, train_dir), _dataset(model, settings, valid_dir, for_training=False)
    assert train is not None
    if train.batch_size < world_size():
        raise UserError(
            f"training.batch_size: {train.batch_size} clips cannot be shared by {world_size()} processes; use fewer"
        )
    if is_main():
        print(
            f"encoder {config['encoder']['name']}: {model.encoder.parameter_count():,} parameters, hop "
            f"{model.hop_ms:g} ms, {len(model.views)} distinct views of {len(model.cuts)} cuts; strategies: "
            f"{', '.join(model.strategies)}; {precision} on {device}",
            flush=True,
        )
        if model.encoder.bands < model.frontend.n_mels:
            print(
                f"note: encoder {config['encoder']['name']} reads {model.encoder.bands} of the frontend's "
                f"{model.frontend.n_mels} bands, "
                "the first of its resolutions; with frontend logmel the others are not computed"
            )
        unread = [
            f"{name} ({columns} values)"
            for name, columns in model.encoder.named_outputs().items()
            if name not in model.read_outputs
        ]
        if unread:
            print(
                f"note: no strategy reads the encoder's {', '.join(unread)}, which stays untrained in every embedding: "
                f"let a head read it (head: {{outputs: all}})"
            )
        if stats is None and getattr(model.frontend, "normalize", "none") != "none":
            print(
                "note: without --stats (stats.npz of ssltoolkit features) the features are not normalised "
                f"(frontend.normalize: {model.frontend.normalize})"
            )
        if train.batch_size < settings["batch_size"]:
            print(
                f"note: batch size {train.batch_size} instead of {settings['batch_size']}: "
                f"{train_dir} has only {train.batch_size} clips"
            )
        if world_size() > 1:
            print(f"{world_size()} processes share each batch of {train.batch_size} clips ({device.type})", flush=True)
    return model, config, exp_dir, train, valid


def _dataset(
    model: SSLModel, settings: Mapping[str, Any], path: Optional[PathLike], for_training: bool = True
) -> Optional[SegmentDataset]:
    if path is None:
        return None
    rate = model.frontend.sample_rate
    segment = int(round(settings["segment_seconds"] * rate))
    archive = WaveArchive(path)
    archive.check_rate(rate)
    if any(strategy.sampler.uses_groups for strategy in model.strategies.values()):
        # Groups are optional for validation: every clip is then compared only with itself.
        if for_training or (archive.path / GROUPS).is_file():
            archive.read_groups(needed=for_training)
    unit = int(round(settings["unit_seconds"] * rate))
    return SegmentDataset(
        archive, model.cuts, settings["batch_size"], segment, rate, settings["seed"], settings["short_clips"], unit
    )
