"""The training loop."""

from __future__ import annotations

import math
import sys
import time
from pathlib import Path
from typing import Any, Dict, Mapping, NamedTuple, Optional, Union

import torch
from torch import Tensor

from ssltoolkit.config import save_config
from ssltoolkit.data.dataset import Prefetcher, SegmentDataset
from ssltoolkit.data.segments import Batch
from ssltoolkit.data.transfer import on_device
from ssltoolkit.distributed.collectives import (
    any_process,
    average_gradients,
    barrier,
    broadcast_parameters,
    from_main,
    is_main,
    world_size,
)
from ssltoolkit.encoders.outputs import ViewFrames
from ssltoolkit.errors import UserError
from ssltoolkit.model import HeadOutputs, SSLModel, StepOutput
from ssltoolkit.precision import uses_bfloat16
from ssltoolkit.signals import Interrupted, StopRequest, handling
from ssltoolkit.training import faults, updates
from ssltoolkit.training.acceleration import accelerate
from ssltoolkit.training.checkpoint import fitting, random_state, restore_random_state, rotate_last, save_checkpoint
from ssltoolkit.training.gradient_cache import cached_backward
from ssltoolkit.training.monitor import Progress, TrainLog, embedding_statistics
from ssltoolkit.training.optim import build_optimizer
from ssltoolkit.training.resume import load_optimizer, saved_state

PathLike = Union[str, Path]
#: longest time to finish a step after a signal, seconds; a longer step is cancelled and repeated on resuming
PATIENCE_S = 4.0


class _Step(NamedTuple):
    """Results of an optimiser step, for the log."""

    terms: Dict[str, Tensor]
    batch: Batch
    frames: ViewFrames
    clips: int


class Trainer:
    """Trains a model and keeps ``last.pt``, ``best.pt`` and the logs of its experiment folder.

    In distributed training each process computes its rows of every batch, and the main process writes.

    Args:
        model: the model, on its device.
        config: the resolved configuration.
        folder: experiment folder.
        train: training segments.
        valid: validation segments, or None; the last checkpoint is then also the best.
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
        self._data = {
            "training data": train.archive.contents(),
            "validation data": "none" if valid is None else valid.archive.contents(),
        }
        self.settings = config["training"]
        self.device = next(model.parameters()).device
        self.bfloat16 = from_main(lambda: uses_bfloat16(self.settings["precision"], self.device.type))
        if self.settings["cached_batch"] and world_size() > 1:
            raise UserError(
                "training.cached_batch supports only one process; remove --ngpu, or set cached_batch: false"
            )
        if world_size() > 1:
            model.span_processes()
        accelerate(model, self.settings, self.device, self._warn)
        self.optimizer, self.scheduler = build_optimizer(config, model)
        self.step, self.best = 0, math.inf
        self.bad_steps = faults.BadSteps(self.folder, self.settings["max_bad_losses"])
        self._collapse = faults.CollapseWatch(self.settings["collapse_rank"], self.settings["collapse_stop"])
        self._statistics = faults.RunningStatistics(model)
        kind = updates.kind_of_updates(self.device, self.optimizer)
        self._updates = kind(model, self.optimizer, self.bad_steps, self._statistics, self._warn, is_main())
        self._stop, self._stop_agreed = StopRequest(), False
        # Whether a signal postponed the validation of the current step.
        self._validation_due = False

    def fit(self) -> None:
        """Train to ``max_steps``, from the last checkpoint if there is one.

        Raises:
            Interrupted: SIGTERM, SIGINT or SIGUSR1 was received; the state is saved.
            UserError: the loss was not finite for too many steps, embeddings collapsed, or memory ran out.
        """
        with handling(self._stop.note):
            self._resume()
            if is_main():
                save_config(self.config, self.folder / "config.yaml")
            log = TrainLog(self.folder, self.step, is_main())
            progress = Progress(self.settings["max_steps"], self.step, is_main())
            batches = Prefetcher(self.train_set, self.step * self.settings["accumulate"], device=self.device)
            try:
                self._loop(batches, log, progress)
            except (
                RuntimeError,
                MemoryError,
            ) as error:  # in the optimiser or a validation, where no smaller batch is tried
                if not faults.out_of_memory(error):
                    raise
                raise UserError(
                    faults.memory_message(self.train_set.batch_size, self.settings["accumulate"], 0)
                ) from None
            finally:
                batches.close()
                progress.close()
                log.close()

    def _loop(self, batches: Prefetcher, log: TrainLog, progress: Progress) -> None:
        settings, started, clips, text = self.settings, time.monotonic(), 0, ""
        if self._validation_due:
            self._end_step(log)
        while self.step < settings["max_steps"]:
            done = self._train_step(batches)
            if done is None:
                self._save(False, log)
                raise Interrupted(self._stop.name)
            self.step += 1
            clips += done.clips
            logged = self.step % settings["log_interval"] == 0
            if logged or not self._updates.deferred:
                text = f"loss {done.terms['loss']:.4f}"
            progress.update(self.step, text)
            if logged:
                self._updates.settle()
                rate = clips / (time.monotonic() - started)
                started, clips = time.monotonic(), 0
                self._log(done, rate, log)
            self._end_step(log)

    def _end_step(self, log: TrainLog) -> None:
        """Validate and save if due at this step; stop if a signal was received."""
        finished, improved = self.step == self.settings["max_steps"], False
        if self.valid_set is not None and (finished or self.step % self.settings["valid_interval"] == 0):
            outcome = self._validate(log)
            self._validation_due = outcome is None
            improved = bool(outcome)
        if finished or improved or self._stopping or self.step % self.settings["checkpoint_interval"] == 0:
            self._save(improved or self.valid_set is None, log)
        if self._stopping and (not finished or self._validation_due):
            raise Interrupted(self._stop.name)

    @property
    def _stopping(self) -> bool:
        """Whether to stop; in distributed training, decided by the last exchange, so that all processes agree."""
        return self._stop_agreed if world_size() > 1 else bool(self._stop.number)

    def _agree(self, wanted: bool) -> bool:
        """Whether any process wants to stop here."""
        self._stop_agreed = any_process(wanted, self.device) or self._stop_agreed
        return self._stop_agreed

    def _train_step(self, batches: Prefetcher) -> Optional[_Step]:
        """One optimiser step over ``accumulate`` batches; None if a signal cancelled it."""
        self.model.train()
        self.optimizer.zero_grad(set_to_none=True)
        self._statistics.keep()
        if self.settings["cached_batch"]:
            return self._cached_step(batches)
        accumulate, began = self.settings["accumulate"], time.monotonic()
        draws = random_state(self.device) if accumulate > 1 else None
        parts, ids = [], []
        for number in range(accumulate):
            if number and self._gives_up(began, number / accumulate):
                self._statistics.restore()
                restore_random_state(draws or {}, self.device)
                return None
            batch = batches.next(self.settings["loader_timeout"])
            ids += batch.utt_ids
            output = self._forward_backward(batch)
            parts.append(output.terms)
        terms = {key: torch.stack([part[key].float() for part in parts]).mean() for key in parts[0]}
        stop = average_gradients(self.model.parameters(), bool(self._stop.number))
        self._stop_agreed = self._stop_agreed or stop
        return self._finished(terms, ids, batch, output.frames)

    def _gives_up(self, began: float, share: float) -> bool:
        """Whether a signal was received and the rest of the step, of which ``share`` is done, would take too long."""
        slow = (time.monotonic() - began) / share * (1.0 - share) > PATIENCE_S
        return self._agree(bool(self._stop.number and slow))

    def _finished(self, terms: Dict[str, Tensor], ids: list, batch: Batch, frames: ViewFrames) -> _Step:
        """Clip the gradients and apply them."""
        # Without a limit the norm is only measured.
        terms["grad_norm"] = torch.nn.utils.clip_grad_norm_(
            self.model.parameters(), self.settings["grad_clip"] or math.inf
        )
        self._update(terms, ids)
        return _Step(terms, batch, frames, len(ids))

    def _cached_step(self, batches: Prefetcher) -> Optional[_Step]:
        """One optimiser step with one loss over the clips of all passes."""
        given = [batches.next(self.settings["loader_timeout"]) for _ in range(self.settings["accumulate"])]
        ids = [utt for batch in given for utt in batch.utt_ids]
        began = time.monotonic()
        try:
            output = cached_backward(
                self.model,
                given,
                self._head_outputs,
                self._statistics.restore,
                lambda share: self._gives_up(began, share),
            )
        except (RuntimeError, MemoryError) as error:
            if not faults.out_of_memory(error):
                raise
            raise UserError(faults.memory_message(len(given[0].utt_ids), self.settings["accumulate"], 0)) from None
        if output is None:
            return None
        return self._finished(
            {key: value.float() for key, value in output.terms.items()}, ids, given[-1], output.frames
        )

    def _head_outputs(self, batch: Batch) -> HeadOutputs:
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.bfloat16):
            return self.model.head_outputs(self._on_device(batch))

    def _on_device(self, batch: Batch) -> Batch:
        batch.waves = {cut: on_device(wave, self.device) for cut, wave in batch.waves.items()}
        return batch

    def _forward_backward(self, batch: Batch) -> StepOutput:
        output = None
        try:
            output = self._forward(batch)
            (output.loss * (1.0 / self.settings["accumulate"])).backward()
            return output
        except (RuntimeError, MemoryError) as error:
            if not faults.out_of_memory(error):
                raise
        # Outside the handler, and after del: both the exception and the output keep the failed step's memory alive.
        del output
        self.optimizer.zero_grad(set_to_none=True)
        fits = 0
        if world_size() == 1:
            fits = faults.fitting_size(batch, lambda part: self._forward(part).loss.backward())
        raise UserError(faults.memory_message(len(batch.utt_ids), self.settings["accumulate"], fits))

    def _forward(self, batch: Batch) -> StepOutput:
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.bfloat16):
            return self.model(self._on_device(batch))

    def _update(self, terms: Dict[str, Tensor], utt_ids: list) -> None:
        self._updates.apply(self.step + 1, terms, utt_ids)
        self.scheduler.step()

    def _log(self, done: _Step, clips_per_s: float, log: TrainLog) -> None:
        frames = done.frames.frames(list(done.frames.outputs))
        frames = frames if done.batch.shard is None else done.batch.shard.collect(frames)
        scalars = {**{key: float(value) for key, value in done.terms.items()}, **embedding_statistics(frames)}
        scalars["learning_rate"] = self.scheduler.get_last_lr()[0]
        scalars["clips_per_s"] = clips_per_s
        scalars["skipped_steps"] = self.bad_steps.total
        log.write(self.step, "train", scalars)
        self._warn(self._collapse.warning(self.step, scalars))

    @torch.no_grad()
    def _validate(self, log: TrainLog) -> Optional[bool]:
        """Compute the validation loss over all clips. Returns whether it is the best so far; None if a signal
        postponed it.
        """
        self.model.eval()
        totals: Dict[str, float] = {}
        count = 0
        assert self.valid_set is not None
        for batch in self.valid_set.validation():
            if self._agree(bool(self._stop.number)):
                return None
            output = self._forward(batch)
            for key, value in output.terms.items():
                totals[key] = totals.get(key, 0.0) + float(value) * len(batch.utt_ids)
            count += len(batch.utt_ids)
        scalars = {key: value / count for key, value in totals.items()}
        log.write(self.step, "valid", scalars)
        if not math.isfinite(scalars["loss"]):
            self._warn(f"the validation loss at step {self.step} is {scalars['loss']}; best.pt is not updated")
        improved = scalars["loss"] < self.best
        self.best = min(self.best, scalars["loss"]) if improved else self.best
        return improved

    def _save(self, best: bool, log: TrainLog) -> None:
        """Write the checkpoint; all processes wait until it is written."""
        self._updates.settle()
        if is_main():
            log.sync()
            state = self._state()
            if best:
                save_checkpoint(self.folder / "best.pt", state)
            rotate_last(self.folder)
            save_checkpoint(self.folder / "last.pt", state)
        barrier(self.device)

    def _state(self) -> Dict[str, Any]:
        return {
            "config": dict(self.config),
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scheduler": self.scheduler.state_dict(),
            "random": random_state(self.device),
            "step": self.step,
            "best": self.best,
            "bad_steps": self.bad_steps.state(),
            "validation_due": self._validation_due,
            "data": self._data,
        }

    def _resume(self) -> None:
        state = from_main(lambda: saved_state(self.folder, self.config, self._data, self.model, self._warn))
        if state is not None:
            try:
                self.model.load_state_dict(state["model"])
                load_optimizer(self.optimizer, state["optimizer"])
                self.scheduler.load_state_dict(fitting(self.scheduler.state_dict(), state["scheduler"]))
                restore_random_state(state["random"], self.device)
                self.step, self.best = fitting([0, 0.0], [state["step"], state["best"]])
                if not isinstance(self.step, int) or not 0 <= self.step < 2**62:
                    raise ValueError(f"step {self.step!r}")
                self.bad_steps.resume(self.step, fitting(self.bad_steps.state(), state.get("bad_steps", {})), is_main())
            except (LookupError, RuntimeError, ValueError, TypeError, AttributeError, OverflowError) as error:
                reason = str(error).splitlines()[0] if str(error) else type(error).__name__
                raise UserError(
                    f"{self.folder}: the checkpoint does not match this model ({reason}); give another experiment "
                    "folder"
                ) from None
            self._validation_due = state.get("validation_due") is True
            if is_main():
                print(f"continuing from step {self.step} of {self.settings['max_steps']}", flush=True)
        else:
            self.bad_steps.resume(0, {}, is_main())
        broadcast_parameters(self.model)

    def _warn(self, message: Optional[str]) -> None:
        if message is not None and is_main():
            print(f"warning: {message}", file=sys.stderr)
