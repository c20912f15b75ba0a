"""A model as a folder: ``config.json``, ``model.safetensors`` and ``README.md``. No code in it is executed.

``config.json`` contains:

==================  ====================================================================================
``model_type``      ``ssltoolkit``
``format``          1
``config``          the resolved configuration: frontend, encoder, embedding, training, ...
``sample_rate``     Hz
``hop_ms``          milliseconds between frame embeddings
``scene_dim``,      sizes of the embeddings
``frame_dim``
``parameters``      number of parameters of frontend and encoder
``pad_value``       padding value of the encoder, if its configuration does not define it
``step``,           training record of the checkpoint
``source``, ...
``versions``        versions of the software that wrote the folder
``sha256``          SHA-256 of ``model.safetensors``
==================  ====================================================================================
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any, Dict, Iterable, Mapping, Protocol, Tuple, Union

from ssltoolkit.errors import UserError, writing
from ssltoolkit.hub.card import model_card
from ssltoolkit.training.checkpoint import file_hash, versions

PathLike = Union[str, Path]
FORMAT = 1
CONFIG, WEIGHTS, CARD = "config.json", "model.safetensors", "README.md"
#: entries of a checkpoint's training record that are copied
KEPT = ("step", "source", "commit")


class PortableModel(Protocol):
    """What a folder needs of a frozen model; see :class:`ssltoolkit.embedding.FrozenModel`."""

    sample_rate: int
    hop_ms: float
    scene_dim: int
    frame_dim: int
    identity: Dict[str, str]
    origin: Mapping[str, Any]

    def state_dict(self) -> Dict[str, Any]: ...

    def parameters(self) -> Iterable[Any]: ...


def is_model_folder(path: PathLike) -> bool:
    """Whether ``path`` is a model folder."""
    return (Path(path) / CONFIG).is_file()


def check_saveable(model: PortableModel) -> None:
    """Check that the model can be rebuilt from what a file would hold.

    Raises:
        UserError: it cannot.
    """
    if not model.origin:
        raise UserError(
            f"{model.identity['model']}: only models with a frontend and an encoder of this toolkit can be saved"
        )


def save_folder(model: PortableModel, path: PathLike, card: str = "") -> Path:
    """Write ``model`` as a folder; other files in the folder are kept.

    Args:
        model: from :func:`ssltoolkit.embedding.load_frozen`.
        path: path of the folder, created if missing.
        card: text of README.md; by default generated from the model's configuration.

    Returns:
        the folder.

    Raises:
        UserError: the model has no configuration to rebuild it from, or the folder cannot be written.
    """
    from safetensors.torch import save

    check_saveable(model)
    folder = Path(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise UserError(f"{folder}: is a file; give a folder for the model") from None
    weights, temporary = folder / WEIGHTS, folder / f"{WEIGHTS}.tmp"
    tensors = {key: value.detach().cpu().contiguous() for key, value in model.state_dict().items()}
    with writing(weights):
        temporary.write_bytes(save(tensors, {"format": "pt"}))
        os.replace(temporary, weights)
    content = describe(model, file_hash(weights))
    if not card:
        card = model_card(content, folder.resolve().name)
    for name, text in ((CONFIG, json.dumps(content, indent=1) + "\n"), (CARD, card)):
        with writing(folder / name):
            (folder / f"{name}.tmp").write_text(text, encoding="utf-8")
            os.replace(folder / f"{name}.tmp", folder / name)
    return folder


def describe(model: PortableModel, sha256: str) -> Dict[str, Any]:
    """Content of ``config.json`` for a model whose weights have this SHA-256."""
    pad_value = getattr(getattr(model, "encoder", None), "pad_value", 0.0)
    return {
        "model_type": "ssltoolkit",
        "format": FORMAT,
        "config": _plain(model.origin["config"]),
        "sample_rate": int(model.sample_rate),
        "hop_ms": float(model.hop_ms),
        "scene_dim": int(model.scene_dim),
        "frame_dim": int(model.frame_dim),
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        **({"pad_value": pad_value} if pad_value else {}),
        **{key: model.origin[key] for key in KEPT if key in model.origin},
        "versions": versions(),
        "sha256": sha256,
    }


def _plain(value: Any) -> Any:
    """Convert mappings and sequences to JSON types."""
    if isinstance(value, Mapping):
        return {key: _plain(below) for key, below in value.items()}
    return [_plain(below) for below in value] if isinstance(value, (list, tuple)) else value


def read_folder(path: PathLike) -> Tuple[Dict[str, Any], str]:
    """Read a model folder.

    Returns:
        the content of an equivalent checkpoint (``config``, ``model``, ...), and a hash of everything that its
        embeddings depend on.

    Raises:
        UserError: a missing or damaged file, or a folder of another program or a later version.
    """
    folder = Path(path)
    content = read_config(folder)
    weights = folder / WEIGHTS
    if not weights.is_file():
        raise UserError(f"{weights}: no such file; copy the whole folder of the model")
    sha256 = file_hash(weights)
    if content.get("sha256", sha256) != sha256:
        raise UserError(f"{weights}: damaged: its checksum is not that of {CONFIG}; copy the model again")
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        model = load_file(str(weights))
    except (SafetensorError, OSError, ValueError, KeyError) as error:
        raise UserError(
            f"{weights}: not readable as weights ({str(error).splitlines()[0]}); copy the model again"
        ) from None
    text = json.dumps([content["config"], content.get("pad_value"), sha256], sort_keys=True)
    return {**content, "model": model}, hashlib.sha256(text.encode()).hexdigest()


def read_config(folder: Path) -> Dict[str, Any]:
    """Read ``config.json`` and check it as far as possible without building the model."""
    path = folder / CONFIG
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; a model is a folder with {CONFIG} and {WEIGHTS}") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: not readable as JSON ({type(error).__name__}); copy the model again") from None
    if (
        not isinstance(content, dict)
        or content.get("model_type") != "ssltoolkit"
        or not isinstance(content.get("config"), dict)
    ):
        raise UserError(
            f"{path}: not a model of this toolkit (model_type is not 'ssltoolkit'); "
            "ssltoolkit export writes such folders"
        )
    if content.get("format") != FORMAT:
        raise UserError(f"{path}: of format {content.get('format')!r}, this version reads {FORMAT}; update ssltoolkit")
    return content
