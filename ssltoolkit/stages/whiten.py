"""The end of stage 4: the whitening that a configuration asks for, fitted to the unlabelled audio and kept in the
checkpoint.
"""

from __future__ import annotations

from pathlib import Path
from typing import Union

from ssltoolkit.embedding import from_checkpoint
from ssltoolkit.embedding.fitting import fit_whitening
from ssltoolkit.training.checkpoint import load_checkpoint, save_checkpoint


def whiten_checkpoint(path: Union[str, Path], data_dir: Union[str, Path]) -> None:
    """Fit the whitening that a checkpoint's configuration asks for, and write it into the checkpoint; does nothing
    where it is there.

    Raises:
        UserError: a checkpoint that cannot be read or written, or damaged data.
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
