"""Application of a step's gradients; a step with a non-finite loss or gradient is skipped and changes nothing.

On a CPU the check is immediate. On a GPU, reading the result would wait for all queued work and leave the GPU idle
while the next step is prepared. There the decision stays on the device, and warnings about a step are reported with the
next line of the training log."""

from __future__ import annotations

from typing import Callable, Dict, List, NamedTuple, Optional, Sequence

import torch
from torch import Tensor

from ssltoolkit.model import SSLModel
from ssltoolkit.training.faults import BadSteps, GradientWatch, RunningStatistics


class Updates:
    """Applies the gradients of each step, and reports problems immediately.

    Args:
        model: the model; its target network is updated too.
        optimizer: the optimiser of its parameters.
        bad_steps: records skipped steps.
        statistics: running statistics, restored when a step is skipped.
        warn: called with a warning or None.
        write: whether this process writes the list of skipped steps.
    """

    def __init__(
        self,
        model: SSLModel,
        optimizer: torch.optim.Optimizer,
        bad_steps: BadSteps,
        statistics: RunningStatistics,
        warn: Callable[[Optional[str]], None],
        write: bool,
    ) -> None:
        self.model, self.optimizer, self.bad_steps, self.statistics = model, optimizer, bad_steps, statistics
        self.warn, self.write = warn, write
        self.gradients = GradientWatch()

    #: whether reports wait for :meth:`settle`
    deferred = False

    def apply(self, step: int, terms: Dict[str, Tensor], utt_ids: Sequence[str]) -> None:
        """Update the weights by the gradients of a step.

        Args:
            step: step number, from 1.
            terms: ``loss`` and ``grad_norm``, scalars on the device.
            utt_ids: clips of the step.

        Raises:
            UserError: too many consecutive non-finite steps.
        """
        loss, norm = terms["loss"], terms["grad_norm"]
        good = bool(torch.isfinite(loss) and torch.isfinite(norm))
        if good:
            self.optimizer.step()
            self.model.after_step()
        else:
            self.statistics.restore()
        self._note(step, float(loss), float(norm), good, utt_ids)

    def settle(self) -> None:
        """Report pending problems of the steps so far.

        Raises:
            UserError: too many consecutive non-finite steps.
        """

    def _note(self, step: int, loss: float, norm: float, good: bool, utt_ids: Sequence[str]) -> None:
        if good:
            self.bad_steps.in_a_row = 0
            self.warn(self.gradients.warning(step, norm))
        else:
            self.bad_steps.add(step, f"loss {loss:.4g}, gradient norm {norm:.4g}", utt_ids, self.write)


class _Pending(NamedTuple):
    step: int
    figures: Tensor
    utt_ids: Sequence[str]


class DeferredUpdates(Updates):
    """The same without waiting for the device; see :func:`can_defer`."""

    deferred = True

    def __init__(self, *arguments, **options) -> None:
        super().__init__(*arguments, **options)
        self._pending: List[_Pending] = []

    def apply(self, step: int, terms: Dict[str, Tensor], utt_ids: Sequence[str]) -> None:
        loss, norm = (terms[name].detach().float() for name in ("loss", "grad_norm"))
        good = torch.isfinite(loss) & torch.isfinite(norm)
        # The attribute that torch's gradient scaler passes to a fused optimiser: where it is 1, parameters, moments and
        # step count stay unchanged.
        self.optimizer.found_inf, self.optimizer.grad_scale = (~good).float(), None
        try:
            self.optimizer.step()
        finally:
            del self.optimizer.found_inf, self.optimizer.grad_scale
        self.statistics.restore_unless(good)
        self.model.after_step(good)
        self._pending.append(_Pending(step, torch.stack([loss, norm, good.float()]), utt_ids))

    def settle(self) -> None:
        if not self._pending:
            return
        pending, self._pending = self._pending, []
        for (step, _, utt_ids), (loss, norm, good) in zip(
            pending, torch.stack([part.figures for part in pending]).tolist()
        ):
            self._note(step, loss, norm, bool(good), utt_ids)


def can_defer(optimizer: torch.optim.Optimizer) -> bool:
    """Whether the optimiser can read the decision on the device, as torch's fused Adam and AdamW do."""
    return isinstance(optimizer, (torch.optim.Adam, torch.optim.AdamW)) and all(
        group["fused"] for group in optimizer.param_groups
    )


def kind_of_updates(device: torch.device, optimizer: torch.optim.Optimizer) -> type:
    """:class:`DeferredUpdates` on a GPU if the optimiser supports it, else :class:`Updates`."""
    return DeferredUpdates if device.type == "cuda" and can_defer(optimizer) else Updates
