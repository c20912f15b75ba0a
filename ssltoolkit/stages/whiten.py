"""End of stage 4: fit the configured whitening to the unlabelled audio and store it in the checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Union

from ssltoolkit.embedding import from_checkpoint
from ssltoolkit.embedding.fitting import fit_whitening
from ssltoolkit.training.checkpoint import load_checkpoint, save_checkpoint


def whiten_checkpoint(path: Union[str, Path], data_dir: Union[str, Path]) -> None:
    """Fit the whitening configured in a checkpoint and write it into the checkpoint; does nothing if it has one.

    Raises:
        UserError: the checkpoint cannot be read or written, or the data are damaged.
    """
    content = load_checkpoint(path)
    size = content["config"]["embedding"]["whiten"]
    model = from_checkpoint(content, {"model": str(path)})
    if not size or model.whitening is not None:
        return
    fitted = fit_whitening(model, data_dir, size, content["config"]["embedding"].get("whiten_frames", True))
    for kind, part in fitted.items():
        content["model"].update({f"whitening.{kind}.{name}": buffer for name, buffer in part.named_buffers()})
    if fitted:
        save_checkpoint(path, content)
