"""Stage 5: frozen embeddings of a formatted data directory, and of audio files.

torch is imported only if needed, because an ONNX model runs without it.
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Callable, Dict, Iterator, List, Optional, Sequence, Set, Tuple, Union

import numpy as np
from tqdm import tqdm

from ssltoolkit.config import load_plugins
from ssltoolkit.data.archive import WaveArchive
from ssltoolkit.data.audio import read_audio, resample
from ssltoolkit.data.npz import NpzWriter, Rows
from ssltoolkit.data.shards import input_key
from ssltoolkit.errors import UserError, writing
from ssltoolkit.evaluation.store import KINDS, EmbeddingStore, EmbeddingWriter
from ssltoolkit.hub.onnx_model import OnnxModel
from ssltoolkit.registry import REGISTRY

if TYPE_CHECKING:
    from ssltoolkit.embedding import FrozenModel

PathLike = Union[str, Path]
#: samples per batch; only clips of equal length are batched
BATCH_SAMPLES = 64 * 16000


class TorchArrays:
    """Adapter of a frozen model to NumPy arrays, with the interface of :class:`OnnxModel`; keeps the model's device."""

    def __init__(self, model: FrozenModel) -> None:
        self.model = model
        self.sample_rate, self.hop_ms, self.identity = model.sample_rate, model.hop_ms, model.identity
        self.scene_dim, self.frame_dim, self.timestamps_ms = model.scene_dim, model.frame_dim, model.timestamps_ms
        self.device = next(model.buffers()).device

    def scenes(self, waves: np.ndarray) -> np.ndarray:
        """(B, N) waves to (B, D)."""
        return self.model.scenes(self._tensor(waves)).cpu().numpy()

    def frames(self, waves: np.ndarray) -> np.ndarray:
        """(B, N) waves to (B, T', D')."""
        return self.model.frames(self._tensor(waves)).cpu().numpy()

    def both(self, waves: np.ndarray) -> Tuple[np.ndarray, np.ndarray]:
        """Scenes and frames, in one pass if scenes are pooled from frames."""
        scenes, frames = self.model.both(self._tensor(waves))
        return scenes.cpu().numpy(), frames.cpu().numpy()

    def streamed(self, waves: np.ndarray, take: Callable[[np.ndarray], None]) -> np.ndarray:
        """Return scenes and pass frames to ``take`` in chunks of (B, n, D')."""
        return self.model.streamed(self._tensor(waves), lambda frames: take(frames.cpu().numpy())).cpu().numpy()

    def _tensor(self, waves: np.ndarray):
        import torch

        return torch.from_numpy(waves).to(self.device)


Arrays = Union[TorchArrays, OnnxModel]


def as_arrays(model: Union[FrozenModel, Arrays]) -> Arrays:
    """Wrap ``model`` so that it maps NumPy arrays to NumPy arrays."""
    return model if isinstance(model, (TorchArrays, OnnxModel)) else TorchArrays(model)


@dataclass(frozen=True)
class EmbedOptions:
    """Options of ``ssltoolkit embed``; see its ``--help``.

    Attributes:
        audio, output: audio files and the ``.npz`` to write, or
        data_dir, out_dir: formatted directories and an output folder for each.
        kind: ``scene``, ``frame`` or ``task:NAME``, one for all directories or one per directory.
        model, config, stats, seed, whiten_data: arguments of :func:`ssltoolkit.embedding.load_frozen`.
        precision: precision of the encoder, ``fp32`` or ``bf16``.
        device: ``auto``, ``cpu`` or ``cuda``.
    """

    model: str = "shipped"
    audio: Sequence[str] = ()
    output: Optional[PathLike] = None
    data_dir: Sequence[PathLike] = ()
    out_dir: Sequence[PathLike] = ()
    kind: Sequence[str] = ("scene",)
    config: Optional[PathLike] = None
    stats: Optional[PathLike] = None
    whiten_data: Optional[PathLike] = None
    seed: int = 0
    precision: str = "fp32"
    device: str = "auto"

    def check(self) -> None:
        """Raise :class:`UserError` for incompatible options; reads no files."""
        if bool(self.audio) == bool(self.data_dir):
            raise UserError("give either audio files with --output FILE.npz, or --data_dir with --out_dir")
        if (self.audio and not self.output) or len(self.data_dir) != len(self.out_dir):
            raise UserError("audio files need --output FILE.npz, and each --data_dir an --out_dir")
        if len(self.kind) not in (1, len(self.data_dir)):
            raise UserError(f"--kind: give one for all or one for each of the {len(self.data_dir)} directories")


def embed(options: EmbedOptions) -> None:
    """Run ``ssltoolkit embed``.

    Raises:
        UserError: incompatible options, no such model, damaged archives or unreadable audio; what is missing is
            reported before anything is computed.

    Example::

        embed(EmbedOptions(audio=["a.wav"], output="embeddings.npz"))
    """
    options.check()
    kinds = [embedding_kind(kind, options.config) for kind in options.kind]
    if options.output:
        _check_files(options.audio, options.output)
    for data_dir in options.data_dir:
        WaveArchive(data_dir)  # raises an error; loading a model may include minutes of whitening
    model = _model(options)
    if options.audio and options.output:
        embed_files(model, options.audio, options.output)
    for data_dir, out_dir, kind in zip(
        options.data_dir, options.out_dir, kinds * (len(options.data_dir) if len(kinds) == 1 else 1)
    ):
        embed_directory(model, data_dir, out_dir, kind)


def _model(options: EmbedOptions) -> Union[FrozenModel, OnnxModel]:
    """Load the model onto its device; an ONNX model needs no torch."""
    if options.model.endswith(".onnx"):
        if options.precision == "bf16":
            raise UserError("--precision bf16: an ONNX model computes in float32; remove the option")
        return OnnxModel(options.model, options.device)
    from ssltoolkit.embedding import load_frozen
    from ssltoolkit.training.devices import choose_device

    device = choose_device(options.device)
    model = load_frozen(options.model, options.config, options.stats, options.seed, options.whiten_data).to(device)
    if options.precision == "bf16":
        model.use_bfloat16()
    return model


def embedding_kind(name: str, config: Optional[PathLike] = None) -> str:
    """Kind of embedding: ``scene`` or ``frame``; for a task, the kind that it needs.

    Args:
        name: one of the two, or ``task:NAME`` with the registered name of a task.
        config: YAML whose plugins are loaded first.

    Raises:
        UserError: another name.
    """
    scheme, _, task = name.partition(":")
    if scheme == "task":
        load_plugins((), config)
        return REGISTRY.component("task", task, "--kind").factory.embedding
    if name not in KINDS:
        raise UserError(f"--kind {name}: must be scene, frame or task:NAME")
    return name


def embed_directory(model: Union[FrozenModel, Arrays], data_dir: PathLike, out_dir: PathLike, kind: str) -> None:
    """Write the embeddings of every utterance; does nothing if they already exist.

    Args:
        model: the model, on its device.
        data_dir: output directory of stage 2.
        out_dir: embedding folder.
        kind: ``scene`` or ``frame``.

    Raises:
        UserError: damaged archives, a different sample rate, or embeddings that are not finite.
    """
    model = as_arrays(model)
    archive = WaveArchive(data_dir)
    archive.check_rate(model.sample_rate)
    meta = {**model.identity, "data_key": input_key(archive.state(range(len(archive))))}
    if _finished(Path(out_dir), kind, meta):
        print(f"{out_dir}: already there")
        return
    dim = model.scene_dim if kind == "scene" else model.frame_dim
    bar = tqdm(total=len(archive), unit="utt", desc=f"embed {Path(out_dir).name}", mininterval=1.0)
    with EmbeddingWriter(out_dir, kind, dim, {**meta, "hop_ms": model.hop_ms}) as writer, bar:
        for indices in _batches(archive):
            waves = np.stack([archive.read(index) for index in indices]).astype(np.float32) / 32768.0
            rows = model.scenes(waves) if kind == "scene" else model.frames(waves)
            for index, row in zip(indices, rows):
                times = None if kind == "scene" else model.timestamps_ms(len(row))
                writer.add(archive.utt_ids[index], row, times)
            bar.update(len(indices))


def _finished(folder: Path, kind: str, meta: Dict[str, str]) -> bool:
    if not (folder / "meta.json").is_file():
        return False
    try:
        store = EmbeddingStore(folder)
    except UserError:
        return False
    return store.kind == kind and all(store.meta.get(key) == value for key, value in meta.items())


def _batches(archive: WaveArchive) -> Iterator[List[int]]:
    """Batches of indices of clips of equal length: nothing is padded, so embeddings do not depend on the batch."""
    by_length: Dict[int, List[int]] = defaultdict(list)
    for index, length in enumerate(archive.num_samples):
        by_length[int(length)].append(index)
    for length, indices in sorted(by_length.items()):
        size = max(1, BATCH_SAMPLES // length)
        for first in range(0, len(indices), size):
            yield indices[first : first + size]


def embed_files(model: Union[FrozenModel, Arrays], paths: Sequence[str], output: PathLike) -> None:
    """Embed audio files of any format and rate into one ``.npz``.

    Besides the arrays of each file it contains ``model``, a JSON text with the model's name, hash and precision.

    Raises:
        UserError: a file cannot be read, or two files have the same name.
    """
    output = Path(output)
    _check_files(paths, output)
    model = as_arrays(model)
    temporary = output.with_name(output.name + ".tmp")
    with writing(output), NpzWriter(temporary) as out:
        for path in tqdm(paths, unit="file", desc="embed", mininterval=1.0):
            _embed_file(model, path, Path(path).stem, out)
        out.add("model", np.array(json.dumps(model.identity, sort_keys=True)))
    temporary.replace(output)
    print(
        f"{output}: {len(paths)} file(s), scene {model.scene_dim}-d, frames {model.frame_dim}-d every "
        f"{model.hop_ms:g} ms"
    )


def _check_files(paths: Sequence[str], output: PathLike) -> None:
    """Raise :class:`UserError` for an output that cannot be written, a missing file, or two files of one name."""
    output = Path(output)
    if output.suffix != ".npz":
        raise UserError(f"{output}: the output of embedding files is an .npz file")
    if not output.parent.is_dir():
        raise UserError(f"{output}: No such file or directory; make its folder first")
    names: Set[str] = set()
    for path in paths:
        name = Path(path).stem
        if name in names:
            raise UserError(f"{path}: another file is also named {name!r}; embed them into separate outputs")
        if not Path(path).exists():
            raise UserError(f"{path}: no such file")
        if Path(path).is_dir():
            raise UserError(
                f"{path}: is a folder; give its files ({path}/*.wav), or, for thousands of them, --data_dir with a "
                "formatted data directory"
            )
        names.add(name)


def _embed_file(model: Arrays, path: str, name: str, out: NpzWriter) -> None:
    """Write the arrays of one file; its frames are never all in memory."""
    notes: List[str] = []
    samples, rate = read_audio(path, notes=notes)
    for note in notes:
        tqdm.write(f"warning: {path}: {note}", file=sys.stderr)
    with Rows(out.folder) as frames:
        scenes = model.streamed(resample(samples, rate, model.sample_rate)[None], lambda part: frames.add(part[0]))
        out.add(f"{name}.scene", scenes[0])
        out.add_rows(f"{name}.frames", frames)
        out.add(f"{name}.times_ms", model.timestamps_ms(frames.shape[0]))
