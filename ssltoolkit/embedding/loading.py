"""Frozen models by name: checkpoints, model folders, untrained encoders, log-mel statistics, released weights and
peers.
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path
from typing import Any, Dict, Mapping, Optional, Tuple

import numpy as np
import torch
from torch import Tensor

from ssltoolkit.config import dump_config, load_config
from ssltoolkit.data.statistics import load_statistics
from ssltoolkit.embedding.baselines import LogMelModel
from ssltoolkit.embedding.encoder_model import EncoderModel
from ssltoolkit.embedding.frozen import FrozenModel, PathLike
from ssltoolkit.embedding.onnx_frozen import OnnxFrozen
from ssltoolkit.errors import UserError
from ssltoolkit.frontends.logmel import Frontend
from ssltoolkit.hub.names import is_repository, read_model
from ssltoolkit.model import build_encoder, build_frontend
from ssltoolkit.registry import REGISTRY
from ssltoolkit.settings import EmbeddingSettings, TrainingSettings, settings_from
from ssltoolkit.training.checkpoint import file_hash
from ssltoolkit.whitening import Whitening

#: the model shipped with the package (see its model card there)
SHIPPED = Path(__file__).resolve().parents[1] / "pretrained" / "general"
#: settings of models that have no configuration
_WITHOUT_CONFIG = {"embedding": {"scene": "max+mean"}, "training": {"segment_seconds": 0.96}}


def load_frozen(
    name: str,
    config: Optional[PathLike] = None,
    stats: Optional[PathLike] = None,
    seed: int = 0,
    whiten_data: Optional[PathLike] = None,
) -> FrozenModel:
    """Load a frozen model by name.

    Args:
        name: path of a checkpoint or of a model folder; ``owner/name`` for one in the cache of ``huggingface_hub``;
            ``shipped`` for the model shipped with the package; ``baseline:logmel``; ``random:<any of these, or a YAML
            configuration>`` for the same network with untrained weights; ``random:<encoder>`` for a registered encoder
            with its defaults; ``released:audiontt:<file>`` and ``released:cnn14:<file>`` for published weights;
            ``peer:<name>`` for a published model of :mod:`ssltoolkit.peers`; an ``.onnx`` file.
        config: YAML with the frontend of ``baseline:logmel`` (default without it), and with the plugins that define a
            checkpoint's frontend or encoder: plugins are code, so a checkpoint alone does not load them.
        stats: statistics of stage 3, for models that do not contain them.
        seed: seed of untrained weights.
        whiten_data: formatted directory of unlabelled audio to fit the whitening of ``embedding.whiten`` to, for models
            that do not contain one (``baseline:logmel`` and ``random:``). Without it their embeddings are not whitened.

    Raises:
        UserError: no such model, or one that cannot be read.

    Example:
        >>> model = load_frozen("random:cnn_small")
        >>> model.frames(torch.zeros(1, model.sample_rate)).shape  # (B, T', D)
        torch.Size([1, 25, 896])
    """
    name = current_name(name)
    model, embedding = _load(name, config, stats, seed)
    size = embedding.get("whiten", 0)
    if not size or model.whitening is not None:
        return model
    if whiten_data is None:
        print(
            f"note: {name} holds no whitening (embedding.whiten: {size}); its embeddings are not whitened",
            file=sys.stderr,
        )
        return model
    from ssltoolkit.embedding.fitting import fit_whitening

    fitted = fit_whitening(model, whiten_data, size, embedding.get("whiten_frames", True))
    if fitted:
        model.whiten(**fitted)
        assert model.whitening is not None
        numbers = b"".join(buffer.cpu().numpy().tobytes() for buffer in model.whitening.buffers())
        model.identity = {
            **model.identity,
            "model_hash": f"{model.identity['model_hash']}-{hashlib.sha256(numbers).hexdigest()[:12]}",
        }
    return model


# FrozenModel.from_pretrained finds models by this function without importing this module.
FrozenModel._load = staticmethod(load_frozen)


def current_name(name: str) -> str:
    """Translate the former ``floor:...`` to ``baseline:...``, with a warning; other names are returned unchanged."""
    if not name.startswith("floor:"):
        return name
    current = f"baseline:{name.partition(':')[2]}"
    print(f"warning: {name} is the former name of {current}; write that", file=sys.stderr)
    return current


def _load(
    name: str, config: Optional[PathLike], stats: Optional[PathLike], seed: int
) -> Tuple[FrozenModel, Mapping[str, Any]]:
    """Load a model by name; also return the embedding settings of its configuration."""
    scheme, _, rest = name.partition(":")
    if scheme == "baseline":
        if rest != "logmel":
            raise UserError(f"{name}: the only baseline is 'baseline:logmel'")
        given = load_config(config) if config else {"frontend": REGISTRY.resolve("frontend", "logmel"), "embedding": {}}
        frontend, context = _frontend(given, stats), given["embedding"].get("frame_context", 0.0)
        text = dump_config({"frontend": given["frontend"], "frame_context": context})
        # Hash the former name, so that existing indices stay valid.
        model = _logmel_model(
            frontend,
            {"model": name, "model_hash": _text_hash(f"floor:logmel{text}", frontend)},
            given["frontend"],
            context,
        )
        return model, given["embedding"]
    if scheme == "random":
        return _untrained(name, rest, config, stats, seed)
    if scheme == "released":
        return _released(name, rest), {}
    if scheme == "peer":
        from ssltoolkit.peers import load_peer

        return load_peer(rest), {}
    if name.endswith(".onnx"):
        return OnnxFrozen(name), {}
    content, content_hash = read_model(SHIPPED if name == "shipped" else name)
    model = from_checkpoint(content, {"model": name, "model_hash": content_hash}, config)
    return model, content["config"].get("embedding") or {}


def from_checkpoint(
    content: Mapping[str, Any], identity: Dict[str, str], config: Optional[PathLike] = None
) -> FrozenModel:
    """Build the frozen model from the content of a checkpoint or model folder; ``config`` as in :func:`load_frozen`.

    Raises:
        UserError: configuration and weights do not match.
    """
    if "encoder" not in content["config"] and "frontend" in content["config"]:
        given = {
            **content["config"],
            "frontend": REGISTRY.resolve("frontend", content["config"]["frontend"], "frontend"),
        }
        context = settings_from(EmbeddingSettings, given.get("embedding") or {}, "embedding").frame_context
        baseline = _logmel_model(build_frontend(given), identity, given["frontend"], context)
        if (given.get("embedding") or {}).get("whiten"):
            _expect_whitening(baseline, content["model"])
        load_weights(baseline, content["model"], identity["model"])
        return baseline
    resolved = _network(content["config"], identity["model"], config)
    model = _encoder_model(resolved, build_frontend(resolved), identity)
    if resolved["embedding"]["whiten"]:
        _expect_whitening(model, content["model"])
    load_weights(model, content["model"], identity["model"])
    if "pad_value" in content:
        if not isinstance(content["pad_value"], (int, float)):
            raise UserError(
                f"{identity['model']}: pad_value must be a number, got {type(content['pad_value']).__name__}"
            )
        model.encoder.pad_value = float(content["pad_value"])
    parts = {key: resolved[key] for key in ("frontend", "encoder", "embedding")}
    model.origin = {
        **{key: value for key, value in content.items() if key != "model"},
        "config": {**content["config"], **parts},
    }
    return model


def _expect_whitening(model: FrozenModel, state: Mapping[str, Tensor]) -> None:
    """If a checkpoint contains a whitening, give ``model`` an empty one of that size for loading."""
    parts = {}
    for kind in ("scene", "frame"):
        mean, directions = (state.get(f"whitening.{kind}.{name}") for name in ("mean", "directions"))
        if mean is None or directions is None or directions.dim() != 2:
            continue
        kept = model.unwhitened_columns(kind) if len(mean) == getattr(model, f"{kind}_dim") else ()
        parts[kind] = Whitening(len(mean), directions.shape[1], kept)
    if "scene" in parts:
        model.whiten(**parts)


def load_weights(model: FrozenModel, state: Mapping[str, Tensor], name: str) -> None:
    """Load a checkpoint's frontend and encoder into ``model``; heads are ignored.

    Raises:
        UserError: keys or shapes differ; names the first of each.
    """
    prefixes = ("frontend.", "encoder.") if model.whitening is None else ("frontend.", "encoder.", "whitening.")
    kept = {key: value for key, value in state.items() if key.startswith(prefixes)}
    own = model.state_dict()
    missing, surplus = sorted(own.keys() - kept.keys()), sorted(kept.keys() - own.keys())
    shapes = [key for key in own.keys() & kept.keys() if own[key].shape != kept[key].shape]
    if missing or surplus or shapes:
        found = [
            f"{what} {keys[0]} and {len(keys) - 1} more"
            for what, keys in (("missing", missing), ("unknown", surplus), ("other shape", sorted(shapes)))
            if keys
        ]
        raise UserError(f"{name}: weights of another architecture ({'; '.join(found)})")
    model.load_state_dict(kept)


def _untrained(
    name: str, source: str, config_path: Optional[PathLike], stats: Optional[PathLike], seed: int
) -> Tuple[EncoderModel, Mapping[str, Any]]:
    state: Mapping[str, Tensor] = {}
    if source.endswith((".yaml", ".yml")):
        config: Mapping[str, Any] = load_config(source)
    elif Path(source).exists() or source == "shipped" or is_repository(source):
        content = read_model(SHIPPED if source == "shipped" else source)[0]
        config, state = _network(content["config"], source, config_path), content["model"]
    else:
        config = {
            "frontend": {"name": "logmel"},
            "encoder": REGISTRY.resolve("encoder", source, f"random:{source}"),
            **_WITHOUT_CONFIG,
        }
    frontend = _frontend(config, stats)
    for key in ("mean", "std"):
        if f"frontend.{key}" in state:
            getattr(frontend, key).copy_(state[f"frontend.{key}"])
    torch.manual_seed(seed)
    parts = {key: config[key] for key in ("frontend", "encoder", "embedding")}
    text = dump_config({**parts, "segment_seconds": config["training"]["segment_seconds"]})
    model = _encoder_model(config, frontend, {"model": name, "model_hash": _text_hash(f"{text}{seed}", frontend)})
    return model, config["embedding"]


def _network(saved: Mapping[str, Any], name: str, config: Optional[PathLike]) -> Dict[str, Any]:
    """Check the parts of a checkpoint's configuration that embedding needs; plugins named in it are not loaded."""
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
        fix = (
            f"; it was trained with the plugins {plugins}, which are loaded only from a configuration file: pass "
            "it with --config"
            if plugins
            else ""
        )
        raise UserError(f"{name}: {error}{fix}") from None


def _released(name: str, source: str) -> EncoderModel:
    from ssltoolkit.encoders.released import RELEASES, load_released, read_released

    kind, _, path = source.partition(":")
    if kind not in RELEASES or not path:
        raise UserError(
            f"{name}: expected released:<encoder>:<weight file> with one of the encoders {', '.join(RELEASES)}"
        )
    release = RELEASES[kind]
    try:
        sizes = release.sizes(read_released(path))
    except (KeyError, ValueError, TypeError):  # another architecture: load_released() names the differing keys
        sizes = {}
    config = {"frontend": release.frontend, "encoder": {"name": kind, **sizes}, **_WITHOUT_CONFIG}
    frontend = build_frontend(config)
    model = _encoder_model(config, frontend, {"model": name, "model_hash": file_hash(path)})
    load_released(model.encoder, path)
    # Pad with the features of silence, which are far from 0 here.
    model.encoder.pad_value = frontend.normalized(frontend.log(torch.zeros(frontend.n_mels))).mean().item()
    return model


def _encoder_model(config: Mapping[str, Any], frontend: Frontend, identity: Dict[str, str]) -> EncoderModel:
    embedding = EmbeddingSettings(**config["embedding"])
    model = EncoderModel(
        frontend, build_encoder(config, frontend), embedding, config["training"]["segment_seconds"], identity
    )
    model.origin = {"config": config}
    return model


def _logmel_model(
    frontend: Frontend, identity: Dict[str, str], config: Mapping[str, Any], context: float
) -> LogMelModel:
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
