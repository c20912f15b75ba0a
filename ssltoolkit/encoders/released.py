"""Loading of published weights into encoders with the same key names.

=========  ================================================  ====================================================
encoder    weights                                           where
=========  ================================================  ====================================================
audiontt   BYOL-A v2, ``AudioNTT2022-BYOLA-64x96d2048.pth``  github.com/nttcslab/byol-a, folder v2
cnn14      PANNs, ``Cnn14_16k_mAP=0.438.pth``                zenodo.org/records/3987831
=========  ================================================  ====================================================
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, ContextManager, Dict, List, Mapping, Tuple, Union

import numpy as np
import torch
from torch import Tensor

from ssltoolkit.encoders.base import Encoder
from ssltoolkit.errors import UserError

PathLike = Union[str, Path]
_SHOWN = 4


@dataclass(frozen=True)
class Release:
    """How to use an encoder's released weights.

    Attributes:
        frontend: the frontend that they were trained with, as in a YAML file.
        sizes: function from the state dict to the encoder's arguments, derived from the weights' shapes.
        unused: key prefixes of other parts of the published network.
    """

    frontend: Mapping[str, Any]
    sizes: Callable[[Mapping[str, Tensor]], Dict[str, int]]
    unused: Tuple[str, ...] = ()


def _audiontt_sizes(state: Mapping[str, Tensor]) -> Dict[str, int]:
    hidden, convolved = state["fc.0.weight"].shape
    return {
        "channels": len(state["features.0.weight"]),
        "hidden_dim": hidden,
        "embed_dim": convolved + len(state["fc.3.weight"]),
    }


def _cnn14_sizes(state: Mapping[str, Tensor]) -> Dict[str, int]:
    return {"width": len(state["conv_block1.conv1.weight"]), "embed_dim": len(state["fc1.weight"])}


#: encoder -> its release. BYOL-A: settings and statistics of its v2 README; PANNs: those of its 16 kHz network.
RELEASES = {
    "audiontt": Release(
        {
            "name": "logmel_slaney",
            "win_length": 1024,
            "n_fft": 1024,
            "f_min": 60.0,
            "f_max": 7800.0,
            "log": "natural",
            "log_floor": float(np.finfo(np.float32).eps),
            "mean": -9.660292,
            "std": 4.7219563,
        },
        _audiontt_sizes,
    ),
    "cnn14": Release(
        {"name": "logmel_slaney"}, _cnn14_sizes, ("spectrogram_extractor.", "logmel_extractor.", "fc_audioset.")
    ),
}


def load_released(encoder: Encoder, path: PathLike) -> None:
    """Load released weights into ``encoder``; no code in the file is executed.

    Args:
        encoder: an encoder in :data:`RELEASES`, or any other whose keys are in the file.
        path: a file written by ``torch.save``: a state dict, at top level or under ``model`` or ``state_dict``.

    Raises:
        UserError: not a weight file, or the architecture differs; names the differing keys.
    """
    state = read_released(path)
    release = RELEASES.get(getattr(encoder, "registered_name", ""))
    unused = release.unused if release else ()
    kept = {key: value for key, value in state.items() if not key.startswith(unused)} if unused else state
    own = encoder.state_dict()
    shapes = [
        f"{key} {_shape(kept[key])} instead of {_shape(own[key])}"
        for key in own
        if key in kept and own[key].shape != kept[key].shape
    ]
    problems = {
        "missing": sorted(own.keys() - kept.keys()),
        "unknown": sorted(kept.keys() - own.keys()),
        "different shape": shapes,
    }
    found = [f"{what}: {_first_keys(keys)}" for what, keys in problems.items() if keys]
    if found:
        name = getattr(encoder, "registered_name", type(encoder).__name__)
        raise UserError(
            f"{path}: weights of another architecture than {name!r} ({'; '.join(found)}); choose the encoder that "
            "they were trained with"
        )
    encoder.load_state_dict(kept)


def read_released(path: PathLike) -> Dict[str, Tensor]:
    """Read the state dict of a weight file; the key prefix of a wrapper module is removed.

    Raises:
        UserError: the file is missing, damaged or not a state dict.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(
            f"{path}: no such weight file; download it first (where to find it: ssltoolkit/encoders/released.py)"
        )
    try:
        with _arrays_allowed():
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many error types for a damaged file
        # Do not show torch's message: it suggests weights_only=False, which would execute code in a hostile file.
        raise UserError(f"{path}: not a readable weight file ({type(error).__name__}); download it again") from None
    for key in ("state_dict", "model"):
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    if (
        not isinstance(content, Mapping)
        or not content
        or not all(isinstance(value, Tensor) for value in content.values())
    ):
        raise UserError(f"{path}: not a weight file (it contains no named tensors)")
    for prefix in ("module.", "model."):
        if all(key.startswith(prefix) for key in content):
            content = {key[len(prefix) :]: value for key, value in content.items()}
    return dict(content)


def _arrays_allowed() -> ContextManager:
    """Allow NumPy arrays under ``weights_only``: PANNs checkpoints also contain their sampler's state."""
    if not hasattr(torch.serialization, "safe_globals"):
        return contextlib.nullcontext()
    rebuild = np.empty(0).__reduce__()[0]
    named = [(rebuild, f"numpy.{core}.multiarray._reconstruct") for core in ("core", "_core")]
    kinds = {type(np.dtype(kind)) for kind in ("bool", "int32", "int64", "uint32", "float32", "float64")}
    return torch.serialization.safe_globals([*named, np.ndarray, np.dtype, *kinds])


def _shape(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "scalar"


def _first_keys(keys: List[str]) -> str:
    more = f" and {len(keys) - _SHOWN} more" if len(keys) > _SHOWN else ""
    return ", ".join(keys[:_SHOWN]) + more
