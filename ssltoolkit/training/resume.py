"""Loading and checking of the checkpoint that a run continues from."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Callable, Dict, Mapping, Optional, Sequence

import torch
from torch import Tensor, nn

from ssltoolkit.errors import UserError
from ssltoolkit.training.checkpoint import fitting, resume_checkpoint

#: settings that may change between a run and its continuation
_CHANGEABLE = (
    "max_steps",
    "log_interval",
    "checkpoint_interval",
    "valid_interval",
    "threads",
    "device",
    "loader_timeout",
    "collapse_stop",
    "channels_last",
    "cudnn_benchmark",
    "compile",
)


def saved_state(
    folder: Path, config: Mapping[str, Any], data: Mapping[str, str], model: nn.Module, warn: Callable[[str], None]
) -> Optional[Dict[str, Any]]:
    """The last checkpoint of an experiment folder, or None if there is none.

    Args:
        config: the resolved configuration. data: name -> description of training and validation data. model: with its
            statistics.
        warn: called if the checkpoint does not record its training data.

    Raises:
        UserError: it was trained with a different configuration, different data or different statistics.
    """
    state = resume_checkpoint(folder)
    if state is None:
        return None
    if not isinstance(state["config"].get("training"), dict):
        raise UserError(f"{folder}: the checkpoint's configuration is incomplete; give another experiment folder")
    if _without_length(state["config"]) != _without_length(config):
        raise UserError(
            f"{folder}/last.pt was trained with another configuration ({_difference(state['config'], config)}); "
            "give another experiment folder, or delete this one to start over"
        )
    _check_data(folder, state, data, model, warn)
    return state


def _check_data(
    folder: Path, state: Mapping[str, Any], data: Mapping[str, str], model: nn.Module, warn: Callable[[str], None]
) -> None:
    """Refuse to continue with different data: the model would have seen both, with the statistics of the first."""
    saved = state.get("data")
    if not isinstance(saved, dict):
        warn(f"{folder}/last.pt, of an earlier version, does not record its training data; make sure that it was this")
        saved = data
    other = [f"{what} ({saved.get(what, 'none')}; now {now})" for what, now in data.items() if saved.get(what) != now]
    if not _alike(state["model"], model.state_dict(), ("frontend.mean", "frontend.std")):
        other.append("statistics (--stats)")
    if other:
        raise UserError(
            f"{folder}/last.pt was trained with other {', other '.join(other)}; "
            "give another experiment folder (--exp_dir; in a recipe --tag), or delete this one"
        )


def load_optimizer(optimizer: torch.optim.Optimizer, saved: Mapping[str, Any]) -> None:
    """Load a checkpoint's state into an optimiser.

    Raises:
        ValueError, LookupError, TypeError: the state does not match the optimiser.
    """
    groups = fitting(optimizer.state_dict()["param_groups"], saved["param_groups"])
    parameters = dict(enumerate(parameter for group in optimizer.param_groups for parameter in group["params"]))
    if isinstance(optimizer, (torch.optim.Adam, torch.optim.AdamW)):
        for number, moments in saved["state"].items():
            own = {"step": torch.zeros(()), "exp_avg": parameters[number], "exp_avg_sq": parameters[number]}
            if fitting(own, moments).keys() != own.keys():
                raise ValueError("optimiser state is incomplete")
    optimizer.load_state_dict({"state": saved["state"], "param_groups": groups})


def _alike(old: Mapping[str, Tensor], new: Mapping[str, Tensor], names: Sequence[str]) -> bool:
    """Whether the shared tensors are equal up to rounding; shape mismatches are reported elsewhere."""
    both = [
        (old[name].cpu(), new[name].cpu())
        for name in names
        if name in old and name in new and old[name].shape == new[name].shape
    ]
    return all(torch.allclose(first.float(), second.float(), rtol=1e-4, atol=1e-4) for first, second in both)


def _without_length(config: Mapping[str, Any]) -> Dict[str, Any]:
    """A configuration without the settings that may change on resuming, such as the number of steps."""
    training = {key: value for key, value in config["training"].items() if key not in _CHANGEABLE}
    return {**config, "training": training, "plugins": []}


def _difference(old: Any, new: Any, path: str = "") -> str:
    """Description of the first difference between two configurations, with its key path."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in [*old, *new]:
            below = f"{path}.{key}" if path else key
            if old.get(key) != new.get(key) and below not in [f"training.{name}" for name in _CHANGEABLE]:
                if key != "training" or _without_length({"training": old[key]}) != _without_length(
                    {"training": new[key]}
                ):
                    return _difference(old.get(key), new.get(key), below)
    return f"{path} was {old!r}, is {new!r}"
