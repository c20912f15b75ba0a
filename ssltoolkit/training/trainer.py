"""The training loop."""

from __future__ import annotations

import math
import signal
import sys
import time
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Union

import torch
from torch import Tensor

from ssltoolkit.config import save_config
from ssltoolkit.data.dataset import Prefetcher, SegmentDataset
from ssltoolkit.data.segments import Batch
from ssltoolkit.errors import UserError
from ssltoolkit.model import SSLModel
from ssltoolkit.registry import REGISTRY
from ssltoolkit.training.checkpoint import random_state, restore_random_state, resume_checkpoint, rotate_last, save_checkpoint
from ssltoolkit.training.monitor import Progress, TrainLog, embedding_statistics

PathLike = Union[str, Path]


class Interrupted(Exception):
    """A signal asked the run to stop; it was checkpointed first."""


class Trainer:
    """Trains a model and keeps ``last.pt``, ``best.pt`` and the logs of its experiment folder.

    Args:
        model: on its device.
        config: the resolved configuration.
        folder: of the experiment.
        train: training segments.
        valid: validation segments, or None; without them the last checkpoint is also the best.
    """

    def __init__(
        self,
        model: SSLModel,
        config: Mapping[str, Any],
        folder: PathLike,
        train: SegmentDataset,
        valid: Optional[SegmentDataset] = None,
    ) -> None:
        self.model, self.config, self.folder = model, config, Path(folder)
        self.train_set, self.valid_set = train, valid
        self.settings = config["training"]
        self.device = next(model.parameters()).device
        self.optimizer = REGISTRY.build("optimizer", config["optimizer"], "optimizer", model=model)
        self.scheduler = REGISTRY.build(
            "scheduler", config["scheduler"], "scheduler", optimizer=self.optimizer, max_steps=self.settings["max_steps"]
        )
        self.step, self.best = 0, math.inf
        self._bad_losses, self._stop_signal, self._collapse_told = 0, 0, False

    def fit(self) -> None:
        """Train to ``max_steps``, from the last checkpoint if there is one.

        Raises:
            Interrupted: SIGTERM, SIGINT or SIGUSR1 came; the state is saved.
            UserError: the loss was not finite for too many steps.
        """
        self._resume()
        save_config(self.config, self.folder / "config.yaml")
        log = TrainLog(self.folder, self.step)
        progress = Progress(self.settings["max_steps"], self.step)
        batches = Prefetcher(self.train_set, self.step * self.settings["accumulate"])
        handlers = {s: signal.signal(s, self._on_signal) for s in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)}
        try:
            self._loop(batches, log, progress)
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
            batches.close()
            progress.close()
            log.close()

    def _loop(self, batches: Prefetcher, log: TrainLog, progress: Progress) -> None:
        settings, started, clips = self.settings, time.monotonic(), 0
        while self.step < settings["max_steps"]:
            terms, frames, count = self._train_step(batches)
            self.step += 1
            clips += count
            progress.update(self.step, f"loss {terms['loss']:.4f}")
            if self.step % settings["log_interval"] == 0:
                scalars = {**{key: float(value) for key, value in terms.items()}, **embedding_statistics(frames)}
                scalars["learning_rate"] = self.scheduler.get_last_lr()[0]
                scalars["clips_per_s"] = clips / (time.monotonic() - started)
                started, clips = time.monotonic(), 0
                log.write(self.step, "train", scalars)
                self._watch_collapse(scalars)
            finished = self.step == settings["max_steps"]
            improved = False
            if self.valid_set is not None and (finished or self.step % settings["valid_interval"] == 0):
                improved = self._validate(log)
            if finished or improved or self._stop_signal or self.step % settings["checkpoint_interval"] == 0:
                self._save(improved or self.valid_set is None)
            if self._stop_signal and not finished:
                raise Interrupted(signal.Signals(self._stop_signal).name)

    def _train_step(self, batches: Prefetcher) -> tuple:
        """One optimiser step over ``accumulate`` batches; returns mean terms, frames and the number of clips."""
        self.model.train()
        self.optimizer.zero_grad(set_to_none=True)
        parts, ids, clips, frames = [], [], 0, None
        share = 1.0 / self.settings["accumulate"]
        for _ in range(self.settings["accumulate"]):
            batch = batches.next()
            ids += batch.utt_ids
            clips += len(batch.utt_ids)
            output = self._forward(batch)
            (output.loss * share).backward()
            parts.append(output.terms)
            frames = output.frames
        terms = {key: torch.stack([part[key].float() for part in parts]).mean() for key in parts[0]}
        if self.settings["grad_clip"] > 0:
            norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.settings["grad_clip"])
            terms["grad_norm"] = norm
        else:
            norm = torch.zeros(())
        if torch.isfinite(terms["loss"]) and torch.isfinite(norm):
            self.optimizer.step()
            self.model.after_step()
            self._bad_losses = 0
        else:
            self._skip(ids, terms)
        self.scheduler.step()
        return terms, frames, clips

    def _forward(self, batch: Batch) -> Any:
        batch.waves = {cut: wave.to(self.device, non_blocking=True) for cut, wave in batch.waves.items()}
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.settings["precision"] == "bf16"):
            return self.model(batch)

    def _skip(self, utt_ids: List[str], terms: Dict[str, Tensor]) -> None:
        """A step whose loss or gradient is not finite changes no weight; too many in a row end the run."""
        self._bad_losses += 1
        path = self.folder / "nonfinite_batches.txt"
        with open(path, "a", encoding="utf-8") as out:
            out.write(f"step {self.step + 1}: {' '.join(utt_ids)}\n")
        print(f"warning: step {self.step + 1} skipped, loss {terms['loss']:.4g} (its clips: {path})", file=sys.stderr)
        if self._bad_losses > self.settings["max_bad_losses"]:
            raise UserError(
                f"{self._bad_losses} steps in a row without a finite loss, at step {self.step + 1}; "
                f"lower optimizer.lr or look at the clips in {path}"
            )

    @torch.no_grad()
    def _validate(self, log: TrainLog) -> bool:
        """The trained objective on every validation clip; True when it is the best so far."""
        self.model.eval()
        totals: Dict[str, float] = {}
        count = 0
        for batch in self.valid_set.validation():
            output = self._forward(batch)
            for key, value in output.terms.items():
                totals[key] = totals.get(key, 0.0) + float(value) * len(batch.utt_ids)
            count += len(batch.utt_ids)
        scalars = {key: value / count for key, value in totals.items()}
        log.write(self.step, "valid", scalars)
        improved = scalars["loss"] < self.best
        self.best = min(self.best, scalars["loss"])
        return improved

    def _watch_collapse(self, scalars: Dict[str, float]) -> None:
        rank, std = scalars["effective_rank"], scalars["embedding_std"]
        collapsed = rank < self.settings["collapse_rank"] or not std > 1e-4
        if collapsed and not self._collapse_told:
            print(
                f"warning: embeddings are collapsing at step {self.step}: effective rank {rank:.2f} (warning below "
                f"{self.settings['collapse_rank']:g}), standard deviation {std:.3g}; lower optimizer.lr, raise the batch "
                "size, or use the cosine similarity",
                file=sys.stderr,
            )
        self._collapse_told = collapsed

    def _save(self, best: bool) -> None:
        state = {
            "config": dict(self.config),
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scheduler": self.scheduler.state_dict(),
            "random": random_state(),
            "step": self.step,
            "best": self.best,
        }
        if best:
            save_checkpoint(self.folder / "best.pt", state)
        rotate_last(self.folder)
        save_checkpoint(self.folder / "last.pt", state)

    def _resume(self) -> None:
        state = resume_checkpoint(self.folder)
        if state is None:
            return
        if _without_length(state["config"]) != _without_length(self.config):
            raise UserError(
                f"{self.folder}/last.pt was trained with another configuration ({_difference(state['config'], self.config)}); "
                "give another experiment folder, or delete this one to start anew"
            )
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scheduler.load_state_dict(state["scheduler"])
        restore_random_state(state["random"])
        self.step, self.best = state["step"], state["best"]
        print(f"continuing from step {self.step} of {self.settings['max_steps']}", flush=True)

    def _on_signal(self, number: int, frame: Any) -> None:
        if self._stop_signal == number == signal.SIGINT:
            raise KeyboardInterrupt  # the second Ctrl-C does not wait for the step to end
        self._stop_signal = number


def _without_length(config: Mapping[str, Any]) -> Dict[str, Any]:
    """A configuration without what may change between a run and its continuation (a longer run, for one)."""
    free = ("max_steps", "log_interval", "checkpoint_interval", "valid_interval", "threads", "device")
    training = {key: value for key, value in config["training"].items() if key not in free}
    return {**config, "training": training, "plugins": []}


def _difference(old: Any, new: Any, path: str = "") -> str:
    """Key path of the first value that differs."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in [*old, *new]:
            if old.get(key) != new.get(key):
                return _difference(old.get(key), new.get(key), f"{path}.{key}" if path else key)
    return f"{path} was {old!r}, is {new!r}"
