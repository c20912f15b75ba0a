"""Options of ``training:`` that make a GPU faster and leave the mathematics as it is; on a CPU they do nothing."""

from __future__ import annotations

from typing import Any, Callable, Dict, Mapping, Optional

import torch
from torch import Tensor

from ssltoolkit.encoders.base import Encoder
from ssltoolkit.model import SSLModel
from ssltoolkit.training.faults import out_of_memory


def accelerate(model: SSLModel, settings: Mapping[str, Any], device: torch.device, warn: Callable[[str], None]) -> None:
    """Apply ``channels_last``, ``cudnn_benchmark`` and ``compile`` to a model that is on its device.

    Args:
        model: before its optimiser is made.
        settings: of ``training:``.
        device: of the model.
        warn: called with what did not work.
    """
    if device.type != "cuda":
        return
    torch.backends.cudnn.benchmark = settings["cudnn_benchmark"]
    if settings["channels_last"]:
        model.to(memory_format=torch.channels_last)
    if settings["compile"]:
        compile_encoder(model.encoder, warn)


def compile_encoder(encoder: Encoder, warn: Callable[[str], None]) -> None:
    """Let ``torch.compile`` make the encoder's passes; where it fails, the encoder stays as it is."""
    encoder.encode_outputs = _Compiled(encoder.encode_outputs, warn)  # type: ignore[method-assign]


class _Compiled:
    """``encode_outputs``, compiled in the first call: only then does one know whether that works."""

    def __init__(self, plain: Callable[..., Dict[str, Tensor]], warn: Callable[[str], None]) -> None:
        self.plain, self.warn = plain, warn
        self.compiled: Optional[Callable[..., Dict[str, Tensor]]] = torch.compile(plain)

    def __call__(self, x: Tensor, rows: Optional[Mapping[str, Optional[Tensor]]] = None) -> Dict[str, Tensor]:
        if self.compiled is not None:
            try:
                return self.compiled(x, rows)
            except Exception as error:  # a compiler fails in many ways, and none of them should end the run
                if out_of_memory(error):
                    raise
                self.compiled = None
                self.warn(
                    f"training.compile: the encoder is not compiled ({type(error).__name__}: "
                    f"{(str(error).splitlines() or [''])[0]})"
                )
        return self.plain(x, rows)
