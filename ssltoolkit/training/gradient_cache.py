"""One contrastive loss over more clips than fit into memory: gradient caching (Gao et al. 2021, "Scaling Deep
Contrastive Learning Batch Size").

The clips come in several batches. First, compute the head outputs of every batch without a graph. Second, compute one
loss over all outputs and its gradients with respect to them. Third, run every batch again with a graph and
back-propagate its share of these gradients. Memory holds the graph of one batch and the outputs of all.

Loss and gradients equal those of one large batch, except that batch normalisation uses the statistics of each batch,
and a ``mix`` transform draws its partner within its own batch."""

from __future__ import annotations

from typing import Callable, Dict, List, Optional, Sequence

import numpy as np
import torch

from ssltoolkit.data.segments import Batch
from ssltoolkit.model import HeadOutputs, SSLModel, StepOutput
from ssltoolkit.training.checkpoint import random_state, restore_random_state
from ssltoolkit.transforms.views import FrameGrid, RenderedView, View

#: name of the drawn parameter that is a clip index within the batch
_PARTNER = "partner"


def cached_backward(
    model: SSLModel,
    batches: Sequence[Batch],
    outputs_of: Callable[[Batch], HeadOutputs],
    restore_statistics: Callable[[], None],
    give_up: Callable[[float], bool] = lambda share: False,
) -> Optional[StepOutput]:
    """Add the gradients of one loss over all batches to the parameters' ``.grad``.

    Args:
        model: in training mode, without a target network.
        batches: the batches of one optimiser step.
        outputs_of: :meth:`SSLModel.head_outputs` of a batch, on the device and in the precision of training.
        restore_statistics: restores the running statistics of batch normalisation to their state before the step.
        give_up: called before each of the 2 K passes over K batches with the share that is done; true cancels the step.

    Returns:
        The loss (without a graph), its terms, and the frames of the last batch's first view. None if the step was
        cancelled; random generators and running statistics are then as before it.
    """
    device = next(model.parameters()).device
    states, seen = [], []
    with torch.no_grad():
        for number, batch in enumerate(batches):
            states.append(random_state(device))
            if number and give_up(number / (2 * len(batches))):
                _restore(states[0], device, restore_statistics)
                return None
            seen.append(outputs_of(batch))
    restore_statistics()
    after = random_state(device)
    whole = {
        name: {role: torch.cat([part.outputs[name][role] for part in seen]).requires_grad_() for role in roles}
        for name, roles in seen[0].outputs.items()
    }
    rendered = joined_views([part.rendered for part in seen])
    groups = [batch.groups for batch in batches if batch.groups is not None]
    size = sum(len(batch.utt_ids) for batch in batches)
    grid = FrameGrid(size, seen[0].frame_count, model.hop_ms, np.concatenate(groups) if groups else None)
    losses = {
        name: model.strategies[name].compared(outputs, rendered, grid, model.draws_of(name, batches[0].seed))
        for name, outputs in whole.items()
    }
    loss, terms = model.joined(losses)
    loss.backward()
    del losses
    first = 0
    for number, (batch, state) in enumerate(zip(batches, states)):
        if give_up((len(batches) + number) / (2 * len(batches))):
            _restore(states[0], device, restore_statistics)
            return None
        restore_random_state(state, device)
        part = outputs_of(batch)
        last = first + len(batch.utt_ids)
        tensors, gradients = [], []
        for name, roles in part.outputs.items():
            for role, output in roles.items():
                gradient = whole[name][role].grad
                if gradient is not None and output.requires_grad:
                    tensors.append(output)
                    gradients.append(gradient[first:last])
        torch.autograd.backward(tensors, gradients)
        first = last
    restore_random_state(after, device)
    return StepOutput(loss.detach(), terms, part.first)


def _restore(state: Dict[str, object], device: torch.device, restore_statistics: Callable[[], None]) -> None:
    """Restore the state before the step; the next step clears the gradients accumulated so far."""
    restore_statistics()
    restore_random_state(state, device)


def joined_views(parts: Sequence[Dict[View, RenderedView]]) -> Dict[View, RenderedView]:
    """Concatenate the drawn view parameters of several batches; indices of partner clips are shifted accordingly."""
    return {view: _joined(view, [part[view] for part in parts]) for view in parts[0]}


def _joined(view: View, parts: List[RenderedView]) -> RenderedView:
    sizes = [len(part.start) for part in parts]
    offsets = np.cumsum([0, *sizes[:-1]])
    params: Dict[str, Dict[str, np.ndarray]] = {}
    for transform, drawn in parts[0].params.items():
        params[transform] = {
            key: np.concatenate(
                [
                    part.params[transform][key] + (offset if key == _PARTNER else 0)
                    for part, offset in zip(parts, offsets)
                ]
            )
            for key in drawn
        }
    period = None
    if any(part.period is not None for part in parts):
        period = np.concatenate(
            [np.full(size, np.inf) if part.period is None else part.period for part, size in zip(parts, sizes)]
        )
    return RenderedView(view, np.concatenate([part.start for part in parts]), params, period)
