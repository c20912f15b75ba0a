"""Frozen embeddings: a trained encoder, an untrained one, or log-mel statistics, behind one interface.

Shapes: N samples, T mel frames, T' embedding frames, D embedding size.
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple, Union

import numpy as np
import torch
from torch import Tensor, nn

from ssltoolkit.config import dump_config, load_config
from ssltoolkit.data.statistics import load_statistics
from ssltoolkit.encoders.base import Encoder, ScenePooling
from ssltoolkit.encoders.outputs import chosen_outputs, columns_of
from ssltoolkit.errors import UserError
from ssltoolkit.frontends.logmel import Frontend
from ssltoolkit.model import build_encoder, build_frontend
from ssltoolkit.precision import has_bfloat16
from ssltoolkit.registry import REGISTRY
from ssltoolkit.training.checkpoint import file_hash, load_checkpoint
from ssltoolkit.training.settings import EmbeddingSettings, TrainingSettings, settings_from
from ssltoolkit.whitening import Whitening

PathLike = Union[str, Path]
#: mel frames of one pass over long audio, so that memory does not grow with its length
CHUNK_FRAMES = 3000
#: mel frames of all windows that one pass over audio in windows takes
WINDOW_FRAMES = 64 * 96
#: frame embeddings are at least this dense, as HEAR advises
MAX_HOP_MS = 50.0
#: the model that comes with the package (its card lies beside it)
SHIPPED = Path(__file__).resolve().parent / "pretrained" / "general.pt"
#: of models that come without a configuration
_HANDED_OUT = {"embedding": {"scene": "max+mean"}, "training": {"segment_seconds": 0.96}}


class FrozenModel(nn.Module):
    """Maps waves to frame and scene embeddings, in evaluation mode, without gradients.

    Attributes:
        sample_rate: Hz expected.
        hop_ms: between frame embeddings.
        frame_dim, scene_dim: sizes of the two embeddings.
        pools_frames: whether ``scenes_of(frames(waves))`` is ``scenes(waves)``, so that one pass gives both.
        identity: what the numbers depend on (``model``, ``model_hash``), stored beside every embedding.
    """

    sample_rate: int
    hop_ms: float
    frame_dim: int
    scene_dim: int
    pools_frames: bool = True
    identity: Dict[str, str]

    def frames(self, waves: Tensor) -> Tensor:
        """(B, N) waves in [-1, 1] to frame embeddings (B, T', D) float32."""
        raise NotImplementedError

    def scenes_of(self, frames: Tensor) -> Tensor:
        """Frame embeddings (B, T', D) to scene embeddings (B, scene_dim) float32."""
        raise NotImplementedError

    def scenes(self, waves: Tensor) -> Tensor:
        """(B, N) waves to scene embeddings (B, scene_dim) float32."""
        return self.scenes_of(self.frames(waves))

    def both(self, waves: Tensor) -> Tuple[Tensor, Tensor]:
        """Frame and scene embeddings of (B, N) waves, by one pass of the network where that gives both."""
        frames = self.frames(waves)
        return frames, self.scenes_of(frames) if self.pools_frames else self.scenes(waves)

    def unwhitened_columns(self, kind: str) -> List[Tuple[int, int]]:
        """(first, one after the last) of the columns of ``scene`` or ``frame`` embeddings that whitening leaves as they are."""
        return []

    def timestamps_ms(self, count: int) -> np.ndarray:
        """Centres of ``count`` frames from the start of the audio, milliseconds, float64."""
        return (np.arange(count) + 0.5) * self.hop_ms

    def use_bfloat16(self) -> None:
        """Compute in bfloat16, where the device does, from now on; what comes of it counts as another model's.

        Raises:
            UserError: the device or the model has no such form.
        """
        raise UserError(f"{self.identity['model']}: it has no encoder that bfloat16 would make faster; leave --precision out")

    def train(self, mode: bool = True) -> "FrozenModel":
        """Frozen means frozen: evaluation mode whatever is asked for."""
        return super().train(False)


def frame_total(samples: int, sample_rate: int, hop_ms: float) -> int:
    """Frames whose centres lie within ``samples``; at least one."""
    return max(1, int(np.floor(1000.0 * samples / sample_rate / hop_ms + 0.5)))


def mel_between(frontend: Frontend, waves: Tensor, first: int, last: int) -> Tensor:
    """Normalised log-mel of frames ``first`` to ``last``, with the samples on either side they reach into."""
    hop = frontend.hop_length
    extra = -(-frontend.reach // hop)  # whole frames that hold a window's overhang
    begin = max(0, first - extra) // frontend.frame_unit * frontend.frame_unit
    wave = waves[:, begin * hop : (last + extra) * hop]
    missing = (last - begin) * hop - wave.shape[1]
    mel = frontend(nn.functional.pad(wave, (0, missing)) if missing > 0 else wave)
    return mel[:, first - begin : last - begin]


def with_context(frames: Tensor, seconds: float, hop_ms: float, columns: Optional[Sequence[Tuple[int, int]]] = None) -> Tensor:
    """Frames (B, T', D), each followed by the mean of those at most half of ``seconds`` away: (B, T', 2 D); as they are for 0.

    At the ends of the audio the mean is over the frames there are.

    Args:
        frames: (B, T', D).
        seconds: of context.
        hop_ms: between frames, milliseconds.
        columns: (first, one after the last) of those columns of which the mean is appended; None for all.
    """
    if not seconds:
        return frames
    count, dim = frames.shape[1:]
    source = frames if columns is None else torch.cat([frames[..., first:last] for first, last in columns], dim=-1)
    averaged = source.shape[-1]
    reach = max(1, round(500.0 * seconds / hop_ms))
    out = frames.new_empty(len(frames), count, dim + averaged)
    out[..., :dim] = frames
    for start in range(0, count, CHUNK_FRAMES):  # in stretches, for the pooling wants a transposed copy
        first, last = max(0, start - reach), min(count, start + CHUNK_FRAMES + reach)
        mean = nn.functional.avg_pool1d(source[:, first:last].transpose(1, 2), 2 * reach + 1, 1, reach, count_include_pad=False)
        out[:, start : start + CHUNK_FRAMES, dim:] = mean[..., start - first : start - first + CHUNK_FRAMES].transpose(1, 2)
    return out


class EncoderModel(FrozenModel):
    """A frontend and an encoder with fixed weights.

    Args:
        frontend: with its statistics.
        encoder: of any kind; one that depends on its whole input sees windows of ``segment_seconds``, one whose hop is
            over 50 ms sees the audio several times, shifted, for its frame embeddings.
        embedding: what is handed out; scenes are pooled from frames without context.
        segment_seconds: that the encoder was trained on.
        identity: see :class:`FrozenModel`.
    """

    def __init__(self, frontend: Frontend, encoder: Encoder, embedding: EmbeddingSettings, segment_seconds: float, identity: Dict[str, str]) -> None:
        super().__init__()
        self.frontend, self.encoder, self.identity = frontend, encoder, identity
        self.sample_rate = frontend.sample_rate
        self.fine_stride = next(d for d in range(encoder.stride, 0, -1) if encoder.stride % d == 0 and (d * frontend.hop_ms <= MAX_HOP_MS or d == 1))
        self.hop_ms, self.pools_frames = self.fine_stride * frontend.hop_ms, self.fine_stride == encoder.stride
        self.segment = int(round(segment_seconds * self.sample_rate)) // frontend.hop_length
        self.frame_context = embedding.frame_context
        self.context_columns = _context_columns(encoder, embedding)
        self.frame_dim = encoder.embed_dim + sum(last - first for first, last in self.context_columns)
        self.pool = ScenePooling(encoder, embedding.scene)
        self.whiten_outputs = embedding.whiten_outputs
        self.scene_dim = self.pool.dim
        self.bfloat16 = False
        self.eval().requires_grad_(False)

    def unwhitened_columns(self, kind: str) -> List[Tuple[int, int]]:
        outputs = self.encoder.named_outputs()
        chosen = chosen_outputs(outputs, self.whiten_outputs, "embedding.whiten_outputs")
        places = self.pool.places if kind == "scene" else {name: [columns] for name, columns in columns_of(outputs).items()}
        return sorted(columns for name, parts in places.items() if name not in chosen for columns in parts)

    def use_bfloat16(self) -> None:
        if not has_bfloat16(next(self.buffers()).device.type):
            raise UserError("--precision bf16: this machine does not compute in bfloat16; leave it out")
        if not self.bfloat16:
            self.bfloat16 = True
            self.identity = {**self.identity, "model_hash": f"{self.identity['model_hash']}-bf16", "precision": "bf16"}

    @torch.inference_mode()
    def frames(self, waves: Tensor) -> Tensor:
        waves = self.frontend.leveled(waves)
        count = frame_total(waves.shape[1], self.sample_rate, self.hop_ms)
        shifts = self.encoder.stride // self.fine_stride
        if shifts == 1:
            return self._with_context(self._at_stride(waves, count))
        # A coarse encoder looks at the audio several times, each time shifted by one fine hop; silence before the start
        # puts the first centre at half a fine hop.
        hop, fine, stride = self.frontend.hop_length, self.fine_stride, self.encoder.stride
        padded = nn.functional.pad(waves, ((stride - fine) * hop // 2, stride * hop))
        each = -(-count // shifts)
        parts = [self._at_stride(padded[:, shift * fine * hop :], each) for shift in range(shifts)]
        return self._with_context(torch.stack(parts, dim=2).flatten(1, 2)[:, :count])

    def _with_context(self, frames: Tensor) -> Tensor:
        return with_context(frames, self.frame_context, self.hop_ms, self.context_columns)

    @torch.inference_mode()
    def scenes(self, waves: Tensor) -> Tensor:
        hop_ms = self.encoder.stride * self.frontend.hop_ms
        waves = self.frontend.leveled(waves)
        return self.scenes_of(self._at_stride(waves, frame_total(waves.shape[1], self.sample_rate, hop_ms)))

    def _encoded(self, mel: Tensor) -> Tensor:
        with torch.autocast(mel.device.type, torch.bfloat16, enabled=self.bfloat16):
            return self.encoder(mel).float()

    def _at_stride(self, waves: Tensor, count: int) -> Tensor:
        """The first ``count`` frames at the encoder's own stride."""
        total = max(count * self.encoder.stride, waves.shape[1] // self.frontend.hop_length)  # mel frames that these cover
        parts = self._windows(waves, count, total) if self.encoder.context_frames is None else self._stretches(waves, count, total)
        return torch.cat(parts, dim=1)[:, :count]

    def _stretches(self, waves: Tensor, count: int, total: int) -> List[Tensor]:
        """Of an encoder whose frames see a limited context: stretches of the audio with that context."""
        stride, chunk = self.encoder.stride, self._multiple(CHUNK_FRAMES)
        margin = self._multiple(self.encoder.context_frames)
        parts = []
        for start in range(0, count * stride, chunk):
            first, last = max(0, start - margin), min(total, start + chunk + margin)
            skip = (start - first) // stride
            parts.append(self._encoded(mel_between(self.frontend, waves, first, last))[:, skip : skip + chunk // stride])
        return parts

    def _windows(self, waves: Tensor, count: int, total: int) -> List[Tensor]:
        """Of an encoder whose frames depend on its whole input: windows of one length, many in a pass."""
        stride, length = self.encoder.stride, self._multiple(self.segment)
        starts = range(0, count * stride, length)
        whole = sum(start + length <= total for start in starts)
        each = max(1, WINDOW_FRAMES // (len(waves) * length))
        parts = []
        for first in range(0, whole, each):
            windows = min(each, whole - first)
            mel = mel_between(self.frontend, waves, first * length, (first + windows) * length)
            h = self._encoded(mel.unflatten(1, (windows, length)).flatten(0, 1))
            parts.append(h.unflatten(0, (len(waves), windows)).flatten(1, 2))
        if whole < len(starts):  # the rest: a whole window that ends with the audio, where there is as much
            start = starts[whole]
            first = max(0, (total - length) // stride * stride)
            parts.append(self._encoded(mel_between(self.frontend, waves, first, total))[:, (start - first) // stride :])
        return parts

    def _multiple(self, frames: int) -> int:
        return -(-frames // self.encoder.stride) * self.encoder.stride

    def scenes_of(self, frames: Tensor) -> Tensor:
        return self.pool(frames)


def _context_columns(encoder: Encoder, embedding: EmbeddingSettings) -> List[Tuple[int, int]]:
    """Columns of the outputs of which frames carry the mean around them, neighbours joined; none without context."""
    if not embedding.frame_context:
        return []
    outputs = encoder.named_outputs()
    joined: List[Tuple[int, int]] = []
    for name in chosen_outputs(outputs, embedding.context_outputs, "embedding.context_outputs"):
        first, last = columns_of(outputs)[name]
        if joined and joined[-1][1] == first:
            first = joined.pop()[0]
        joined.append((first, last))
    return joined


class WhitenedModel(FrozenModel):
    """A frozen model whose embeddings are whitened.

    Args:
        model: whose embeddings they are.
        scene, frame: fitted to its scene and frame embeddings.
    """

    pools_frames = False

    def __init__(self, model: FrozenModel, scene: Whitening, frame: Whitening) -> None:
        super().__init__()
        self.model, self.scene, self.frame = model, scene, frame
        self.sample_rate, self.hop_ms = model.sample_rate, model.hop_ms
        self.scene_dim, self.frame_dim = scene.out_dim, frame.out_dim
        self.eval().requires_grad_(False)

    @property
    def identity(self) -> Dict[str, str]:
        numbers = b"".join(buffer.cpu().numpy().tobytes() for part in (self.scene, self.frame) for buffer in part.buffers())
        whitening = hashlib.sha256(numbers).hexdigest()[:12]
        return {**self.model.identity, "model_hash": f"{self.model.identity['model_hash']}-{whitening}"}

    @torch.inference_mode()
    def frames(self, waves: Tensor) -> Tensor:
        return self.frame(self.model.frames(waves))

    @torch.inference_mode()
    def scenes(self, waves: Tensor) -> Tensor:
        return self.scene(self.model.scenes(waves))

    @torch.inference_mode()
    def both(self, waves: Tensor) -> Tuple[Tensor, Tensor]:
        frames, scenes = self.model.both(waves)
        return self.frame(frames), self.scene(scenes)

    def use_bfloat16(self) -> None:
        self.model.use_bfloat16()


class LogMelModel(FrozenModel):
    """The floor: mean and deviation of log-mel, over 40 ms for a frame and over the whole clip for a scene.

    Args:
        frontend: with its statistics.
        identity: see :class:`FrozenModel`.
        frame_context: see :func:`with_context`.
    """

    STRIDE = 4

    def __init__(self, frontend: Frontend, identity: Dict[str, str], frame_context: float = 0.0) -> None:
        super().__init__()
        self.frontend, self.identity = frontend, identity
        self.sample_rate, self.hop_ms = frontend.sample_rate, self.STRIDE * frontend.hop_ms
        self.frame_context, self.scene_dim = frame_context, 2 * frontend.n_mels
        self.frame_dim = self.scene_dim * (2 if frame_context else 1)
        self.eval().requires_grad_(False)

    @torch.inference_mode()
    def frames(self, waves: Tensor) -> Tensor:
        waves = self.frontend.leveled(waves)
        count = frame_total(waves.shape[1], self.sample_rate, self.hop_ms)
        parts = []
        for start in range(0, count * self.STRIDE, CHUNK_FRAMES):
            mel = mel_between(self.frontend, waves, start, min(start + CHUNK_FRAMES, count * self.STRIDE))
            grouped = mel.unflatten(1, (-1, self.STRIDE))
            parts.append(torch.cat([grouped.mean(2), grouped.std(2, correction=0)], dim=2))
        return with_context(torch.cat(parts, dim=1), self.frame_context, self.hop_ms)

    def scenes_of(self, frames: Tensor) -> Tensor:
        # Mean and variance of all mel frames follow from those of the groups, which are equally long.
        mean, deviation = frames[..., : self.scene_dim].chunk(2, dim=2)
        clip_mean = mean.mean(1)
        variance = (deviation.square() + mean.square()).mean(1) - clip_mean.square()
        return torch.cat([clip_mean, variance.clamp_min(0.0).sqrt()], dim=1)


def load_frozen(
    name: str, config: Optional[PathLike] = None, stats: Optional[PathLike] = None, seed: int = 0, whiten_data: Optional[PathLike] = None
) -> FrozenModel:
    """A frozen model by name.

    Args:
        name: path of a checkpoint; ``shipped``, the model that comes with the package; ``floor:logmel``; ``random:<checkpoint or YAML configuration>`` for the same
            network with untrained weights; ``random:<encoder>`` for a registered encoder with its defaults;
            ``released:audiontt:<file>`` and ``released:cnn14:<file>`` for weights that others have released.
        config: YAML that gives the frontend of ``floor:logmel`` (its defaults without it), and the plugins that a
            checkpoint's frontend or encoder comes from: they are code, so a checkpoint alone does not load them.
        stats: statistics of stage 3 for models that carry none.
        seed: of the untrained weights.
        whiten_data: formatted directory of unlabelled audio that the whitening of ``embedding.whiten`` is fitted to, for models that carry
            none (``floor:logmel`` and ``random:``); without it their embeddings stay as they are.

    Raises:
        UserError: no such model, or one that cannot be read.
    """
    model, size = _load(name, config, stats, seed)
    if not size or isinstance(model, WhitenedModel):
        return model
    if whiten_data is None:
        print(f"note: {name} holds no whitening (embedding.whiten: {size}); its embeddings are not whitened", file=sys.stderr)
        return model
    from ssltoolkit.whiten_data import fit_whitening

    content = fit_whitening(model, whiten_data, size)
    return whitened(model, content) if content else model


def _load(name: str, config: Optional[PathLike], stats: Optional[PathLike], seed: int) -> Tuple[FrozenModel, int]:
    """A model by name, and the size of the whitening that its configuration asks for."""
    scheme, _, rest = name.partition(":")
    if scheme == "floor":
        if rest != "logmel":
            raise UserError(f"{name}: the only floor is 'floor:logmel'")
        given = load_config(config) if config else {"frontend": REGISTRY.resolve("frontend", "logmel"), "embedding": {}}
        frontend, context = _frontend(given, stats), given["embedding"].get("frame_context", 0.0)
        text = dump_config({"frontend": given["frontend"], "frame_context": context})
        return LogMelModel(frontend, {"model": name, "model_hash": _text_hash(f"{name}{text}", frontend)}, context), given["embedding"].get("whiten", 0)
    if scheme == "random":
        return _untrained(name, rest, config, stats, seed)
    if scheme == "released":
        return _released(name, rest), 0
    path = SHIPPED if name == "shipped" else name
    content = load_checkpoint(path)
    model = from_checkpoint(content, {"model": name, "model_hash": file_hash(path)}, config)
    return model, (content["config"].get("embedding") or {}).get("whiten", 0)


def whitened(model: FrozenModel, content: Mapping[str, Any]) -> FrozenModel:
    """``model`` with the whitening that :func:`~ssltoolkit.whiten_data.fit_whitening` found, which becomes part of its identity.

    Raises:
        UserError: a whitening of embeddings of another size.
    """
    name = model.identity["model"]
    try:
        parts = {kind: Whitening.restored(content[kind]) for kind in ("scene", "frame")}
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise UserError(f"{name}: its whitening cannot be read ({type(error).__name__}: {error})") from None
    for kind, wanted in (("scene", model.scene_dim), ("frame", model.frame_dim)):
        if parts[kind].dim != wanted:
            raise UserError(
                f"{name}: whitened for {kind} embeddings of {parts[kind].dim} values, it gives {wanted}; "
                "keep embedding as it was, or give --set embedding.whiten=0"
            )
    return WhitenedModel(model, parts["scene"], parts["frame"])


def from_checkpoint(content: Mapping[str, Any], identity: Dict[str, str], config: Optional[PathLike] = None) -> FrozenModel:
    """The frozen model of a checkpoint's content, whitened where that holds a whitening; ``config`` as in :func:`load_frozen`.

    Raises:
        UserError: a configuration or weights that do not fit.
    """
    resolved = _network(content["config"], identity["model"], config)
    model = _encoder_model(resolved, build_frontend(resolved), identity)
    load_weights(model, content["model"], identity["model"])
    if not content.get("whitening") or not resolved["embedding"]["whiten"]:
        return model
    return whitened(model, content["whitening"])


def load_weights(model: EncoderModel, state: Mapping[str, Tensor], name: str) -> None:
    """Put a checkpoint's frontend and encoder into ``model``; heads are left behind.

    Raises:
        UserError: keys or shapes differ; names the first of each.
    """
    kept = {key: value for key, value in state.items() if key.startswith(("frontend.", "encoder."))}
    own = model.state_dict()
    missing, surplus = sorted(own.keys() - kept.keys()), sorted(kept.keys() - own.keys())
    shapes = [key for key in own.keys() & kept.keys() if own[key].shape != kept[key].shape]
    if missing or surplus or shapes:
        found = [f"{what} {keys[0]} and {len(keys) - 1} more" for what, keys in (("missing", missing), ("unknown", surplus), ("other shape", sorted(shapes))) if keys]
        raise UserError(f"{name}: weights of another architecture ({'; '.join(found)})")
    model.load_state_dict(kept)


def _untrained(
    name: str, source: str, config_path: Optional[PathLike], stats: Optional[PathLike], seed: int
) -> Tuple[EncoderModel, int]:
    state: Mapping[str, Tensor] = {}
    if source.endswith((".yaml", ".yml")):
        config: Mapping[str, Any] = load_config(source)
    elif Path(source).is_file():
        content = load_checkpoint(source)
        config, state = _network(content["config"], source, config_path), content["model"]
    else:
        config = {"frontend": {"name": "logmel"}, "encoder": REGISTRY.resolve("encoder", source, f"random:{source}"), **_HANDED_OUT}
    frontend = _frontend(config, stats)
    for key in ("mean", "std"):
        if f"frontend.{key}" in state:
            getattr(frontend, key).copy_(state[f"frontend.{key}"])
    torch.manual_seed(seed)
    parts = {key: config[key] for key in ("frontend", "encoder", "embedding")}
    text = dump_config({**parts, "segment_seconds": config["training"]["segment_seconds"]})
    model = _encoder_model(config, frontend, {"model": name, "model_hash": _text_hash(f"{text}{seed}", frontend)})
    return model, config["embedding"].get("whiten", 0)


def _network(saved: Mapping[str, Any], name: str, config: Optional[PathLike]) -> Dict[str, Any]:
    """The parts of a checkpoint's configuration that embedding needs, checked; no plugin that it names is loaded."""
    REGISTRY.load_entry_points()
    if config is not None:
        load_config(config)
    try:
        return {
            **{kind: REGISTRY.resolve(kind, saved.get(kind), kind) for kind in ("frontend", "encoder")},
            "embedding": settings_from(EmbeddingSettings, saved.get("embedding") or {}, "embedding").as_dict(),
            "training": settings_from(TrainingSettings, saved.get("training") or {}, "training").as_dict(),
        }
    except UserError as error:
        plugins = saved.get("plugins")
        mend = f"; it was trained with the plugins {plugins}, which are loaded from a configuration only: give it with --config" if plugins else ""
        raise UserError(f"{name}: {error}{mend}") from None


def _released(name: str, source: str) -> EncoderModel:
    from ssltoolkit.encoders.released import RELEASES, load_released, read_released

    kind, _, path = source.partition(":")
    if kind not in RELEASES or not path:
        raise UserError(f"{name}: expected released:<encoder>:<weight file> with one of the encoders {', '.join(RELEASES)}")
    release = RELEASES[kind]
    try:
        sizes = release.sizes(read_released(path))
    except (KeyError, ValueError, TypeError):  # of another architecture: loading names the keys that differ
        sizes = {}
    config = {"frontend": release.frontend, "encoder": {"name": kind, **sizes}, **_HANDED_OUT}
    frontend = build_frontend(config)
    model = _encoder_model(config, frontend, {"model": name, "model_hash": file_hash(path)})
    load_released(model.encoder, path)
    # Beyond the end of the audio there is silence, which is far from 0 in these features.
    model.encoder.pad_value = frontend.normalized(frontend.log(torch.zeros(frontend.n_mels))).mean().item()
    return model


def _encoder_model(config: Mapping[str, Any], frontend: Frontend, identity: Dict[str, str]) -> EncoderModel:
    embedding = EmbeddingSettings(**config["embedding"])
    return EncoderModel(frontend, build_encoder(config, frontend), embedding, config["training"]["segment_seconds"], identity)


def _frontend(config: Mapping[str, Any], stats: Optional[PathLike]) -> Frontend:
    frontend = build_frontend(config)
    if stats is not None:
        frontend.set_statistics(*load_statistics(stats, frontend.n_mels))
    return frontend


def _text_hash(text: str, frontend: Frontend) -> str:
    numbers = np.concatenate([frontend.mean.numpy(), frontend.std.numpy()]).tobytes()
    return hashlib.sha256(text.encode() + numbers).hexdigest()
