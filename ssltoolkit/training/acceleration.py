"""GPU speed options of ``training:``; they change only rounding, and have no effect on a CPU."""

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
        model: the model; call this before building its optimiser.
        settings: the ``training:`` settings.
        device: the model's device.
        warn: called with a message for an option that failed.
    """
    if device.type != "cuda":
        return
    torch.backends.cudnn.benchmark = settings["cudnn_benchmark"]
    if settings["channels_last"]:
        model.to(memory_format=torch.channels_last)
    if settings["compile"]:
        compile_encoder(model.encoder, warn)


def compile_encoder(encoder: Encoder, warn: Callable[[str], None]) -> None:
    """Compile the encoder with ``torch.compile``; if that fails, keep it uncompiled."""
    encoder.encode_outputs = _Compiled(encoder.encode_outputs, warn)  # type: ignore[method-assign]


class _Compiled:
    """``encode_outputs``, compiled in the first call, which shows whether compilation works."""

    def __init__(self, plain: Callable[..., Dict[str, Tensor]], warn: Callable[[str], None]) -> None:
        self.plain, self.warn = plain, warn
        self.compiled: Optional[Callable[..., Dict[str, Tensor]]] = torch.compile(plain)

    def __call__(self, x: Tensor, rows: Optional[Mapping[str, Optional[Tensor]]] = None) -> Dict[str, Tensor]:
        if self.compiled is not None:
            try:
                return self.compiled(x, rows)
            except Exception as error:  # the compiler raises many error types; none should end the run
                if out_of_memory(error):
                    raise
                self.compiled = None
                self.warn(
                    f"training.compile: the encoder is not compiled ({type(error).__name__}: "
                    f"{(str(error).splitlines() or [''])[0]})"
                )
        return self.plain(x, rows)
