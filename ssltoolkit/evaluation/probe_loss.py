"""Losses of the probes: value, gradient with respect to the outputs, and conversion of outputs to predictions.

A task selects one (:meth:`ssltoolkit.evaluation.task.Task.loss`). Gradients are implemented by hand, because
:mod:`ssltoolkit.evaluation.batched_mlp` passes outputs and targets of many models at once.

Symbols: M models, B rows of a batch, n rows, C outputs.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Optional

import numpy as np

from ssltoolkit.errors import kind_of

if TYPE_CHECKING:  # reports read tasks without loading torch
    import torch


class ProbeLoss(ABC):
    """A loss on the outputs of a probe.

    Attributes:
        dtype: NumPy dtype in which all targets are stored.
        gathers: whether targets are (n,) class indices; otherwise they are (n, C), converted to float32 for gradients.
    """

    dtype: type = np.float32
    gathers = False

    @abstractmethod
    def gradient(self, outputs: torch.Tensor, targets: torch.Tensor, scratch: torch.Tensor) -> torch.Tensor:
        """Gradient of each model's mean loss with respect to its outputs.

        Args:
            outputs: (M, B, C) float32, may be overwritten. targets: (M, B, C) float32, or (M, B) int64.
            scratch: (M, B, C) float32 with arbitrary content, may be overwritten.

        Returns:
            (M, B, C) float32, gradient of the loss averaged over rows (and over outputs if they are independent).
        """

    @abstractmethod
    def total(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Loss of each model, summed over rows (and outputs): (M,) float64.

        Args:
            outputs: (M, n, C) float64. targets: (n, C), or (n,) int64.
        """

    @abstractmethod
    def predictions(self, outputs: torch.Tensor) -> torch.Tensor:
        """Predictions (probabilities, or numbers) from outputs (M, n, C) float32, which may be overwritten."""


class CrossEntropy(ProbeLoss):
    """Softmax cross-entropy of class indices."""

    dtype, gathers = np.int64, True

    def gradient(self, outputs: torch.Tensor, targets: torch.Tensor, scratch: torch.Tensor) -> torch.Tensor:
        import torch

        models, rows, _ = outputs.shape
        gradient = torch.softmax(outputs, dim=2, out=scratch)
        ones = torch.full((1, 1, 1), -1.0, device=outputs.device).expand(models, rows, 1)
        return gradient.scatter_add_(2, targets[:, :, None], ones).div_(rows)

    def total(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        from torch.nn import functional

        columns = targets.expand(len(outputs), -1)
        return functional.cross_entropy(outputs.transpose(1, 2), columns, reduction="none").sum(dim=1)

    def predictions(self, outputs: torch.Tensor) -> torch.Tensor:
        return outputs.softmax(dim=2)


class BinaryCrossEntropy(ProbeLoss):
    """Sigmoid and binary cross-entropy of each output; targets are 0 or 1."""

    dtype = np.uint8

    def gradient(self, outputs: torch.Tensor, targets: torch.Tensor, scratch: torch.Tensor) -> torch.Tensor:
        _, rows, classes = outputs.shape
        return outputs.sigmoid_().sub_(targets).div_(rows * classes)

    def total(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        from torch.nn import functional

        targets = targets.double().expand_as(outputs)
        return functional.binary_cross_entropy_with_logits(outputs, targets, reduction="none").sum(dim=(1, 2))

    def predictions(self, outputs: torch.Tensor) -> torch.Tensor:
        return outputs.sigmoid_()


class SquaredError(ProbeLoss):
    """Squared error of numbers; nothing is scaled, so give targets of about unit size."""

    def gradient(self, outputs: torch.Tensor, targets: torch.Tensor, scratch: torch.Tensor) -> torch.Tensor:
        _, rows, numbers = outputs.shape
        return outputs.sub_(targets).mul_(2.0 / (rows * numbers))

    def total(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return (outputs - targets.double()).square().sum(dim=(1, 2))

    def predictions(self, outputs: torch.Tensor) -> torch.Tensor:
        return outputs


def loss_of(targets: np.ndarray) -> ProbeLoss:
    """The default loss: cross-entropy for class indices (n,), binary cross-entropy for (n, C)."""
    return CrossEntropy() if targets.ndim == 1 else BinaryCrossEntropy()


def loss_fault(loss: object, targets: np.ndarray, outputs: int) -> Optional[str]:
    """Describe why what a task's ``loss`` returned cannot train its probe, or return None.

    Args:
        targets: of the training rows. outputs: C.
    """
    if not isinstance(loss, ProbeLoss):
        given = f"the class {loss.__name__}" if isinstance(loss, type) else kind_of(loss)
        return f"returned {given}; return a ProbeLoss, such as SquaredError()"
    name, found = f"returned {type(loss).__name__}", f"the targets are {targets.dtype} {targets.shape}"
    whole = targets.dtype.kind in "iub"
    if loss.gathers and not (targets.ndim == 1 and whole):
        fix = "BinaryCrossEntropy() for 0 and 1" if whole else "SquaredError() for numbers"
        return f"{name}, which needs class indices (F,), but {found}; use {fix}"
    if not loss.gathers and targets.ndim != 2:
        return f"{name}, which needs targets (F, C), but {found}; use CrossEntropy() for class indices"
    if not loss.gathers and targets.shape[1] != outputs:
        return f"{name}, which needs one target for each of the {outputs} classes, but {found}"
    if np.issubdtype(loss.dtype, np.integer) and not whole and not np.array_equal(targets, targets.astype(loss.dtype)):
        return f"{name}, which needs whole numbers, but {found}; use SquaredError() for numbers"
    low, high = (targets.min(), targets.max()) if targets.size else (0, 0)
    top = outputs - 1 if loss.gathers else 1
    if isinstance(loss, (CrossEntropy, BinaryCrossEntropy)) and (low < 0 or high > top):
        return f"{name}, which needs targets from 0 to {top}, but they are from {low:g} to {high:g}"
    return (
        None if type(loss) in (CrossEntropy, BinaryCrossEntropy, SquaredError) else _trial_fault(loss, targets, outputs)
    )


def _trial_fault(loss: ProbeLoss, targets: np.ndarray, outputs: int) -> Optional[str]:
    """Describe what is wrong with the results of a loss for the first rows, or return None."""
    import torch

    rows = torch.as_tensor(np.asarray(targets[:2], dtype=loss.dtype))[None]
    given = torch.zeros(1, rows.shape[1], outputs)
    found = {
        "gradient": loss.gradient(given.clone(), rows if loss.gathers else rows.float(), torch.zeros_like(given)),
        "predictions": loss.predictions(given.clone()),
    }
    for method, result in found.items():
        if not isinstance(result, torch.Tensor) or result.shape != given.shape:
            shape = tuple(result.shape) if isinstance(result, torch.Tensor) else kind_of(result)
            return f"returned {type(loss).__name__}, whose {method}() gives {shape}, expected {tuple(given.shape)}"
    return None
