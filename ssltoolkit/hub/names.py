"""Resolution of model names: a file, a folder, or a repository in the cache of ``huggingface_hub``."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Dict, Tuple, Union

from ssltoolkit.errors import UserError
from ssltoolkit.hub.folder import CONFIG, WEIGHTS, is_model_folder, read_folder
from ssltoolkit.training.checkpoint import file_hash, load_checkpoint

PathLike = Union[str, Path]
#: owner/name, optionally followed by @ and a branch, tag or commit
REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*(@[\w.-]+)?")
_FILES = (".pt", ".pth", ".ckpt", ".onnx", ".safetensors", ".yaml", ".yml")


def read_model(name: PathLike) -> Tuple[Dict[str, Any], str]:
    """Content (``config``, ``model``, ...) and hash of a checkpoint file, a model folder, or ``owner/name[@revision]``.

    Raises:
        UserError: no such model, or one that cannot be read.
    """
    path = Path(name)
    if path.name in (CONFIG, WEIGHTS) and is_model_folder(path.parent):
        path = path.parent
    if not path.exists() and is_repository(str(name)):
        path = repository_folder(str(name))
    if path.is_dir():
        return read_folder(path)
    if not path.exists():
        raise UserError(
            f"{path}: no such checkpoint or model folder; give the path of one, shipped, or owner/name of a repository"
        )
    content = load_checkpoint(path)
    return content, file_hash(path)


def is_repository(name: str) -> bool:
    """Whether ``name`` can only be ``owner/name``, not a path."""
    return bool(REPOSITORY.fullmatch(name)) and not name.endswith(_FILES)


def repository_folder(name: str) -> Path:
    """Cache folder of ``owner/name[@revision]`` in ``huggingface_hub``, downloaded if necessary.

    Raises:
        UserError: the library is missing, there is no such repository, or it cannot be reached.
    """
    try:
        import huggingface_hub
        from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
    except ImportError:
        raise UserError(
            f"{name}: no such file or folder here; to load a model by owner/name, install the extra: "
            "pip install 'ssltoolkit[hub]'"
        ) from None
    repository, _, revision = name.partition("@")
    try:
        return Path(
            huggingface_hub.snapshot_download(
                repository, revision=revision or None, allow_patterns=[CONFIG, WEIGHTS, "README.md"]
            )
        )
    except LocalEntryNotFoundError:
        raise UserError(
            f"{name}: no such folder here, and not in the cache of huggingface_hub, "
            "which could not be reached or is offline (HF_HUB_OFFLINE)"
        ) from None
    except HFValidationError as error:
        raise UserError(f"{name}: not the name of a repository ({str(error).splitlines()[0]})") from None
    except (HfHubHTTPError, OSError) as error:
        raise UserError(
            f"{name}: no such folder here, and huggingface_hub did not find it ({str(error).splitlines()[0]})"
        ) from None
