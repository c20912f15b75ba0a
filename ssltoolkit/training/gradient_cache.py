"""One contrastive loss over more clips than fit into memory: gradient caching (Gao et al. 2021, "Scaling Deep Contrastive Learning Batch Size").

The clips come in several batches. First the heads' outputs of every batch are computed without a graph; then the loss of all of them
together, and its gradients with respect to these outputs; then every batch once more, with a graph, through which its share of the gradients goes
back. Memory holds the graph of one batch and the outputs of all.

Loss and gradients are those of one large batch, except that batch normalisation has the statistics of each batch, and that a ``mix`` transform draws
its partner from the batch it is in.
"""

from __future__ import annotations

from typing import Callable, Dict, List, Sequence

import numpy as np
import torch
from torch import Tensor

from ssltoolkit.data.segments import Batch
from ssltoolkit.model import SSLModel, StepOutput
from ssltoolkit.training.checkpoint import random_state, restore_random_state
from ssltoolkit.transforms.views import FrameGrid, RenderedView, View

#: strategy -> role -> what the head gave, (B, D) or (B, T', D)
Outputs = Dict[str, Dict[str, Tensor]]
#: name of the drawn parameter that counts clips of the batch
_PARTNER = "partner"


def cached_backward(model: SSLModel, batches: Sequence[Batch], outputs_of: Callable[[Batch], object], restore_statistics: Callable[[], None]) -> StepOutput:
    """Gradients of one loss over all batches, added to the parameters' ``.grad``.

    Args:
        model: in training mode, without a target network.
        batches: of one optimiser step.
        outputs_of: :meth:`SSLModel.head_outputs` of a batch, on the device and in the precision of training.
        restore_statistics: puts the running statistics of batch normalisation back to where the step began.

    Returns:
        The loss (without a graph), its terms, and the frames of the last batch's first view.
    """
    device = next(model.parameters()).device
    states, seen = [], []
    with torch.no_grad():
        for batch in batches:
            states.append(random_state(device))
            seen.append(outputs_of(batch))
    restore_statistics()
    after = random_state(device)
    whole = {
        name: {role: torch.cat([part.outputs[name][role] for part in seen]).requires_grad_() for role in roles}
        for name, roles in seen[0].outputs.items()
    }
    rendered = joined_views([part.rendered for part in seen])
    grid = FrameGrid(sum(len(batch.utt_ids) for batch in batches), seen[0].frame_count, model.hop_ms)
    losses = {
        name: model.strategies[name].compared(outputs, rendered, grid, model.draws_of(name, batches[0].seed)) for name, outputs in whole.items()
    }
    loss, terms = model.joined(losses)
    loss.backward()
    del losses
    first = 0
    for batch, state in zip(batches, states):
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


def joined_views(parts: Sequence[Dict[View, RenderedView]]) -> Dict[View, RenderedView]:
    """What was drawn for several batches, as for one; numbers of partner clips count through."""
    return {view: _joined(view, [part[view] for part in parts]) for view in parts[0]}


def _joined(view: View, parts: List[RenderedView]) -> RenderedView:
    sizes = [len(part.start) for part in parts]
    offsets = np.cumsum([0, *sizes[:-1]])
    params: Dict[str, Dict[str, np.ndarray]] = {}
    for transform, drawn in parts[0].params.items():
        params[transform] = {
            key: np.concatenate([part.params[transform][key] + offset * (key == _PARTNER) for part, offset in zip(parts, offsets)])
            if key == _PARTNER
            else np.concatenate([part.params[transform][key] for part in parts])
            for key in drawn
        }
    period = None
    if any(part.period is not None for part in parts):
        period = np.concatenate([np.full(size, np.inf) if part.period is None else part.period for part, size in zip(parts, sizes)])
    return RenderedView(view, np.concatenate([part.start for part in parts]), params, period)
