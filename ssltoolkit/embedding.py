"""Frozen embeddings: a trained encoder, an untrained one, or log-mel statistics, behind one interface.

Shapes: N samples, T mel frames, T' embedding frames, D embedding size.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Union

import numpy as np
import torch
from torch import Tensor, nn

from ssltoolkit.config import dump_config, load_config
from ssltoolkit.data.statistics import load_statistics
from ssltoolkit.encoders.base import Encoder, ScenePooling
from ssltoolkit.errors import UserError
from ssltoolkit.exporting import exporting, pad_time
from ssltoolkit.frontends.logmel import Frontend
from ssltoolkit.model import build_encoder, build_frontend
from ssltoolkit.precision import has_bfloat16
from ssltoolkit.registry import REGISTRY
from ssltoolkit.training.checkpoint import file_hash
from ssltoolkit.training.settings import EmbeddingSettings, TrainingSettings, settings_from

PathLike = Union[str, Path]
#: mel frames of one pass over long audio, so that memory does not grow with its length
CHUNK_FRAMES = 3000
#: mel frames of all windows that one pass over audio in windows takes
WINDOW_FRAMES = 64 * 96
#: frame embeddings are at least this dense, as HEAR advises
MAX_HOP_MS = 50.0
#: the model that comes with the package (its card lies beside it)
SHIPPED = Path(__file__).resolve().parent / "pretrained" / "general"
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
        origin: what the model is built from again, ``config`` and what else a checkpoint says of itself; empty where it cannot be.
    """

    sample_rate: int
    hop_ms: float
    frame_dim: int
    scene_dim: int
    pools_frames: bool = True
    identity: Dict[str, str]
    origin: Mapping[str, Any] = {}

    @staticmethod
    def from_pretrained(name: PathLike, config: Optional[PathLike] = None) -> "FrozenModel":
        """A model by the path of its folder or checkpoint, by ``owner/name[@revision]`` (extra ``hub``), or as :func:`load_frozen` takes it.

        Raises:
            UserError: no such model, or one that cannot be read.

        Example:
            >>> FrozenModel.from_pretrained("shipped").sample_rate
            16000
        """
        return load_frozen(str(name), config)

    def save_pretrained(self, folder: PathLike, card: str = "") -> Path:
        """Write ``config.json``, ``model.safetensors`` and the model card ``README.md`` (or ``card``); the folder.

        Raises:
            UserError: a model that is not of this toolkit's components, or a folder that cannot be written.
        """
        from ssltoolkit.hub.folder import save_folder

        return save_folder(self, folder, card)

    def frames(self, waves: Tensor) -> Tensor:
        """(B, N) waves in [-1, 1] to frame embeddings (B, T', D) float32."""
        raise NotImplementedError

    def scenes_of(self, frames: Tensor) -> Tensor:
        """Frame embeddings (B, T', D) to scene embeddings (B, scene_dim) float32."""
        raise NotImplementedError

    def scenes(self, waves: Tensor) -> Tensor:
        """(B, N) waves to scene embeddings (B, scene_dim) float32."""
        return self.scenes_of(self.frames(waves))

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
    hop = round(hop_ms * sample_rate / 1000.0)
    return torch.sym_max(1, (2 * samples + hop) // (2 * hop))


def mel_between(frontend: Frontend, waves: Tensor, first: int, last: int) -> Tensor:
    """Normalised log-mel of frames ``first`` to ``last``, with the samples on either side they reach into."""
    hop = frontend.hop_length
    extra = -(-frontend.reach // hop)  # whole frames that hold a window's overhang
    begin = max(0, first - extra) // frontend.frame_unit * frontend.frame_unit
    wave = waves[:, begin * hop : (last + extra) * hop]
    missing = (last - begin) * hop - wave.shape[1]
    mel = frontend(nn.functional.pad(wave, (0, missing)) if missing > 0 else wave)
    return mel[:, first - begin : last - begin]


def with_context(frames: Tensor, seconds: float, hop_ms: float, pitch_bins: int = 0) -> Tensor:
    """Frames (B, T', D), each followed by the mean of those at most half of ``seconds`` away: (B, T', 2 D); as they are for 0.

    At the ends of the audio the mean is over the frames there are. Of the last ``pitch_bins`` columns, logits of an axis of pitch,
    there is no mean: what sounds now has a pitch, a second of sounds has many.
    """
    if not seconds:
        return frames
    count, dim = frames.shape[1:]
    averaged = dim - pitch_bins
    reach = max(1, round(500.0 * seconds / hop_ms))
    if exporting():
        mean = nn.functional.avg_pool1d(frames[..., :averaged].transpose(1, 2), 2 * reach + 1, 1, reach, count_include_pad=False)
        return torch.cat([frames, mean.transpose(1, 2)], dim=2)
    out = frames.new_empty(len(frames), count, dim + averaged)
    out[..., :dim] = frames
    for start in range(0, count, CHUNK_FRAMES):  # in stretches, for the pooling wants a transposed copy
        first, last = max(0, start - reach), min(count, start + CHUNK_FRAMES + reach)
        mean = nn.functional.avg_pool1d(frames[:, first:last, :averaged].transpose(1, 2), 2 * reach + 1, 1, reach, count_include_pad=False)
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
        self.frame_dim = encoder.embed_dim + (encoder.embed_dim - encoder.pitch_bins if self.frame_context else 0)
        self.pool = ScenePooling(encoder, embedding.scene)
        self.scene_dim = self.pool.dim
        self.bfloat16 = False
        self.eval().requires_grad_(False)

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
        each = (count + shifts - 1) // shifts
        parts = [self._at_stride(padded[:, shift * fine * hop :], each) for shift in range(shifts)]
        return self._with_context(torch.stack(parts, dim=2).flatten(1, 2)[:, :count])

    def _with_context(self, frames: Tensor) -> Tensor:
        return with_context(frames, self.frame_context, self.hop_ms, self.encoder.pitch_bins)

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
        total = torch.sym_max(count * self.encoder.stride, waves.shape[1] // self.frontend.hop_length)  # mel frames that these cover
        if exporting():
            return self._as_graph(waves, count, total)
        parts = self._windows(waves, count, total) if self.encoder.context_frames is None else self._stretches(waves, count, total)
        return torch.cat(parts, dim=1)[:, :count]

    def _as_graph(self, waves: Tensor, count: int, total: int) -> Tensor:
        """What :meth:`_stretches` and :meth:`_windows` give, without a branch or a loop that depends on a size."""
        missing = torch.sym_max(total * self.frontend.hop_length - waves.shape[1], 0)
        mel = self.frontend(pad_time(waves, missing))
        if self.encoder.context_frames is not None:
            return self.encoder(mel)[:, :count]
        stride, length = self.encoder.stride, self._multiple(self.segment)
        whole = total // length
        windows = torch.sym_max(whole, 1)
        first = torch.sym_max(total - length, 0) // stride * stride
        padded = pad_time(mel, torch.sym_max(length - total, 0))[:, : windows * length]
        h = self.encoder(padded.reshape(-1, length, mel.shape[2]))
        h = h.reshape(waves.shape[0], -1, h.shape[2])[:, : whole * (length // stride)]
        rest = self.encoder(mel[:, first:])[:, (whole * length - first) // stride :]
        return torch.cat([h, rest], dim=1)[:, :count]

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


def load_frozen(name: str, config: Optional[PathLike] = None, stats: Optional[PathLike] = None, seed: int = 0) -> FrozenModel:
    """A frozen model by name.

    Args:
        name: path of a checkpoint or of a model folder; ``owner/name`` for one in the cache of ``huggingface_hub``; ``shipped``, the model that comes with the package; ``floor:logmel``; ``random:<checkpoint or YAML configuration>`` for the same
            network with untrained weights; ``random:<encoder>`` for a registered encoder with its defaults;
            ``released:audiontt:<file>`` and ``released:cnn14:<file>`` for weights that others have released; a file in ``.onnx``.
        config: YAML that gives the frontend of ``floor:logmel`` (its defaults without it), and the plugins that a
            checkpoint's frontend or encoder comes from: they are code, so a checkpoint alone does not load them.
        stats: statistics of stage 3 for models that carry none.
        seed: of the untrained weights.

    Raises:
        UserError: no such model, or one that cannot be read.
    """
    scheme, _, rest = name.partition(":")
    if scheme == "floor":
        if rest != "logmel":
            raise UserError(f"{name}: the only floor is 'floor:logmel'")
        given = load_config(config) if config else {"frontend": REGISTRY.resolve("frontend", "logmel"), "embedding": {}}
        frontend, context = _frontend(given, stats), given["embedding"].get("frame_context", 0.0)
        text = dump_config({"frontend": given["frontend"], "frame_context": context})
        return _logmel_model(frontend, {"model": name, "model_hash": _text_hash(f"{name}{text}", frontend)}, given["frontend"], context)
    if scheme == "random":
        return _untrained(name, rest, config, stats, seed)
    if scheme == "released":
        return _released(name, rest)
    if scheme == "peer":
        from ssltoolkit.peers import load_peer

        return load_peer(rest)
    if name.endswith(".onnx"):
        from ssltoolkit.hub.onnx_frozen import OnnxFrozen

        return OnnxFrozen(name)
    from ssltoolkit.hub.names import read_model

    content, content_hash = read_model(SHIPPED if name == "shipped" else name)
    return from_checkpoint(content, {"model": name, "model_hash": content_hash}, config)


def from_checkpoint(content: Mapping[str, Any], identity: Dict[str, str], config: Optional[PathLike] = None) -> FrozenModel:
    """The frozen model of a checkpoint's or a model folder's content; ``config`` as in :func:`load_frozen`.

    Raises:
        UserError: a configuration or weights that do not fit.
    """
    if "encoder" not in content["config"] and "frontend" in content["config"]:
        given = {**content["config"], "frontend": REGISTRY.resolve("frontend", content["config"]["frontend"], "frontend")}
        context = settings_from(EmbeddingSettings, given.get("embedding") or {}, "embedding").frame_context
        floor = _logmel_model(build_frontend(given), identity, given["frontend"], context)
        load_weights(floor, content["model"], identity["model"])
        return floor
    resolved = _network(content["config"], identity["model"], config)
    model = _encoder_model(resolved, build_frontend(resolved), identity)
    load_weights(model, content["model"], identity["model"])
    if "pad_value" in content:
        if not isinstance(content["pad_value"], (int, float)):
            raise UserError(f"{identity['model']}: pad_value must be a number, got {type(content['pad_value']).__name__}")
        model.encoder.pad_value = float(content["pad_value"])
    parts = {key: resolved[key] for key in ("frontend", "encoder", "embedding")}
    model.origin = {**{key: value for key, value in content.items() if key != "model"}, "config": {**content["config"], **parts}}
    return model


def load_weights(model: FrozenModel, state: Mapping[str, Tensor], name: str) -> None:
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


def _untrained(name: str, source: str, config_path: Optional[PathLike], stats: Optional[PathLike], seed: int) -> EncoderModel:
    from ssltoolkit.hub.names import read_model

    state: Mapping[str, Tensor] = {}
    if source.endswith((".yaml", ".yml")):
        config: Mapping[str, Any] = load_config(source)
    elif Path(source).exists() or source == "shipped":
        content = read_model(SHIPPED if source == "shipped" else source)[0]
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
    return _encoder_model(config, frontend, {"model": name, "model_hash": _text_hash(f"{text}{seed}", frontend)})


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
    model = EncoderModel(frontend, build_encoder(config, frontend), embedding, config["training"]["segment_seconds"], identity)
    model.origin = {"config": config}
    return model


def _logmel_model(frontend: Frontend, identity: Dict[str, str], config: Mapping[str, Any], context: float) -> LogMelModel:
    model = LogMelModel(frontend, identity, context)
    model.origin = {"config": {"frontend": config, "embedding": {"frame_context": context}}}
    return model


def _frontend(config: Mapping[str, Any], stats: Optional[PathLike]) -> Frontend:
    frontend = build_frontend(config)
    if stats is not None:
        frontend.set_statistics(*load_statistics(stats, frontend.n_mels))
    return frontend


def _text_hash(text: str, frontend: Frontend) -> str:
    numbers = np.concatenate([frontend.mean.numpy(), frontend.std.numpy()]).tobytes()
    return hashlib.sha256(text.encode() + numbers).hexdigest()
