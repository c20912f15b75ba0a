"""Export a checkpoint as a small ``.pt``, a model folder, or ONNX."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Dict, List, Sequence, Union

from ssltoolkit.config import apply_overrides
from ssltoolkit.embedding import SHIPPED, FrozenModel, from_checkpoint, load_frozen
from ssltoolkit.errors import UserError
from ssltoolkit.hub.card import model_card, read_card
from ssltoolkit.hub.folder import WEIGHTS, check_saveable, describe, save_folder
from ssltoolkit.hub.names import read_model
from ssltoolkit.training.checkpoint import file_hash, save_checkpoint

PathLike = Union[str, Path]
FORMATS = ("pt", "safetensors", "onnx")
#: sections of the configuration that embedding needs
SECTIONS = ("frontend", "encoder", "embedding")


def format_of(output: PathLike, asked: str = "") -> str:
    """``pt``, ``safetensors`` (a folder) or ``onnx``; derived from the output name if ``asked`` is empty.

    Raises:
        UserError: the name does not match the format.
    """
    suffix = Path(output).suffix
    by_name = {".pt": "pt", ".onnx": "onnx"}.get(suffix, "safetensors")
    if suffix in (".safetensors", ".pth", ".ckpt", ".bin", ".h5", ".npz", ".zip", ".gz"):
        raise UserError(
            f"--output {output}: give NAME.pt, NAME.onnx, or a folder (for {WEIGHTS}, configuration and card)"
        )
    if asked and asked != by_name:
        wanted = {"pt": "a name in .pt", "onnx": "a name in .onnx", "safetensors": "the name of a folder"}[asked]
        raise UserError(f"--output {output}: --format {asked} needs {wanted}")
    return by_name


def model_to_export(name: str, overrides: Sequence[str] = (), config: str = "") -> FrozenModel:
    """Load the frozen model of a checkpoint, folder or name, with overrides of its embedding settings.

    Raises:
        UserError: no such model, or an override of a setting that needs training.
    """
    for override in overrides:
        if not override.startswith("embedding."):
            raise UserError(
                f"--set {override}: only keys of embedding can change without training; "
                "for example embedding.scene=max+mean"
            )
    if name.partition(":")[0] in ("baseline", "floor", "random", "released", "peer"):
        if overrides:
            raise UserError(f"--set: {name} has no settings to change; save it as a folder first, then export that")
        return load_frozen(name, config or None)
    content, _ = read_model(SHIPPED if name == "shipped" else name)
    content = {**content, "config": apply_overrides(content["config"], list(overrides))}
    if Path(name).is_file():
        content["source"] = file_hash(name)
    return from_checkpoint(content, {"model": name, "model_hash": "exported"}, config or None)


def write_pt(model: FrozenModel, output: PathLike) -> None:
    """Write a checkpoint of frontend, encoder and their configuration, without heads and optimiser.

    Raises:
        UserError: the model cannot be rebuilt from such a file.
    """
    check_saveable(model)
    config = {key: value for key, value in model.origin["config"].items() if key in SECTIONS}
    seconds = model.origin["config"].get("training", {}).get("segment_seconds")
    if seconds is not None:
        config["training"] = {"segment_seconds": seconds}
    kept: Dict[str, Any] = {"step": model.origin.get("step", 0), "source": model.origin.get("source", "")}
    pad_value = getattr(getattr(model, "encoder", None), "pad_value", 0.0)
    if pad_value:
        kept["pad_value"] = pad_value
    Path(output).parent.mkdir(parents=True, exist_ok=True)
    save_checkpoint(output, {"config": config, "model": model.state_dict(), **kept})


def write_folder(
    model: FrozenModel, output: PathLike, source: str, card: str = "", licence: str = "", data: str = ""
) -> None:
    """Write a model folder; its card quotes the command and results found next to the checkpoint."""
    text = read_card(card) if card else ""
    save_folder(model, output, text)
    if not text:
        experiment = Path(source).parent if Path(source).is_file() else None
        content = describe(model, file_hash(Path(output) / WEIGHTS))
        text = model_card(content, Path(output).resolve().name, experiment, licence, data)
        (Path(output) / "README.md").write_text(text, encoding="utf-8")


def sizes(output: Path) -> str:
    """Size of a file or of a folder's files, in MB."""
    files: List[Path] = [path for path in output.iterdir() if path.is_file()] if output.is_dir() else [output]
    return f"{sum(path.stat().st_size for path in files) / 2**20:.2f} MB"
