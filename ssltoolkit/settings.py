"""The ``training:`` and ``embedding:`` sections of a configuration."""

from __future__ import annotations

import dataclasses
import typing
from dataclasses import dataclass, field
from typing import Any, Dict, List, Mapping, Type, TypeVar, Union

from ssltoolkit.annotations import checked
from ssltoolkit.errors import ConfigError, ParameterError, check_choice, check_range
from ssltoolkit.registry import nearest

#: poolings over time, of which a scene embedding concatenates one or more
SCENE_POOLS = ("max", "mean", "std")

Settings = TypeVar("Settings", bound="_Settings")


@dataclass(frozen=True)
class _Settings:
    def as_dict(self) -> Dict[str, Any]:
        """All values, as they are saved."""
        return dataclasses.asdict(self)


@dataclass(frozen=True)
class TrainingSettings(_Settings):
    """How long, how much at once, how precise.

    Args:
        max_steps: optimiser steps.
        batch_size: clips of one forward pass, at least 2; contrastive negatives come from these.
        accumulate: forward passes per optimiser step.
        cached_batch: one loss over the clips of all ``accumulate`` passes instead of one a pass, so that every clip has
            all others as negatives; memory holds the graph of one pass, and each is computed twice (gradient caching,
            Gao et al. 2021). Batch normalisation has the statistics of a pass.
        segment_seconds: length of every cut.
        unit_seconds: a longer clip enters an epoch once for each stretch of this length, so that long recordings are
            heard in proportion; 0 draws from every clip once.
        short_clips: a clip shorter than a cut is repeated (``repeat``) or followed by silence (``zero``).
        joint: ``sum`` or ``product`` of the strategies' losses, or ``uncertainty`` (a sum with learned weights).
        grad_clip: largest gradient norm; 0 does not clip.
        precision: ``fp32``, or ``bf16`` for the encoder and heads (losses are always fp32), which not every processor
            has; ``auto`` is ``bf16`` where that is faster.
        seed: of everything random.
        threads: CPU threads; 0 leaves the number to the machine.
        device: ``auto`` takes a GPU where there is one.
        channels_last: weights of convolutions with channels last, which a GPU's half-precision convolutions are faster
            with. Like the next two it changes rounding only, and nothing on a CPU.
        cudnn_benchmark: time a GPU's convolution algorithms and take the fastest; the same run twice may then differ in
            the last digits.
        compile: ``torch.compile`` of the encoder on a GPU, a minute or more before the first step; left out, with a
            warning, where it fails.
        log_interval: steps between lines of the training log.
        valid_interval: steps between validations.
        checkpoint_interval: steps between checkpoints to resume from.
        max_bad_losses: steps in a row whose loss or gradient is not finite that are skipped; one more stops the run.
        collapse_rank: warn when the effective rank of the embeddings falls below this.
        collapse_stop: stop after this many lines of the training log in a row with collapsed embeddings; 0 only warns.
        loader_timeout: longest wait for a batch, seconds.
    """

    max_steps: int = 1000
    batch_size: int = 128
    accumulate: int = 1
    cached_batch: bool = False
    segment_seconds: float = 0.96
    unit_seconds: float = 10.0
    short_clips: str = "repeat"
    joint: str = "sum"
    grad_clip: float = 5.0
    precision: str = "fp32"
    seed: int = 0
    threads: int = 0
    device: str = "auto"
    channels_last: bool = False
    cudnn_benchmark: bool = False
    compile: bool = False
    log_interval: int = 10
    valid_interval: int = 100
    checkpoint_interval: int = 100
    max_bad_losses: int = 10
    collapse_rank: float = 4.0
    collapse_stop: int = 0
    loader_timeout: float = 300.0

    def __post_init__(self) -> None:
        check_range("batch_size", self.batch_size, 2)
        for name in ("max_steps", "accumulate", "log_interval", "valid_interval", "checkpoint_interval"):
            check_range(name, getattr(self, name), 1)
        check_range("segment_seconds", self.segment_seconds, 0.1, 600.0)
        check_range("unit_seconds", self.unit_seconds, 0.0, 1e6)
        check_range("threads", self.threads, 0, 4096)
        check_range("loader_timeout", self.loader_timeout, 0.0, open_low=True)
        for name in ("grad_clip", "seed", "max_bad_losses", "collapse_rank", "collapse_stop"):
            check_range(name, getattr(self, name), 0)
        check_choice("short_clips", self.short_clips, ("repeat", "zero"))
        check_choice("joint", self.joint, ("sum", "product", "uncertainty"))
        check_choice("precision", self.precision, ("auto", "fp32", "bf16"))


@dataclass(frozen=True)
class EmbeddingSettings(_Settings):
    """How frozen embeddings are made.

    Args:
        scene: pooling of frames over time into a clip's embedding: ``max``, ``mean``, ``std``, or several of them
            concatenated, such as ``max+mean``. A mapping says it for each of the encoder's outputs (its docstring names
            them) and for all ``others``; those that it leaves out are not in a clip's embedding: ``{pitch_axis:
            max+mean, others: max+std}``.
        frame_context: seconds around a frame whose mean is appended to its embedding; 0 for none.
            A probe on single frames then also sees what the sound is part of.
        context_outputs: of which of the encoder's outputs the mean is appended: ``all``, names, or names with ``-`` in
            front, all but these. What sounds now has a pitch, a second of sounds has many: of an axis of pitch there is
            none by default.
        whiten: directions that are kept of an embedding whitened on the unlabelled audio of pre-training
            (:class:`~ssltoolkit.whitening.Whitening`), for clips and for frames; 0 leaves embeddings as they are.
        whiten_outputs: which of the encoder's outputs are whitened, said as ``context_outputs``; the others follow
            them, standardised.
        whiten_apart: outputs that are whitened by themselves, and how many of the ``whiten`` values each gets, as in
            ``{pitch_axis: 256}``: whitened together, an output with many values of its own takes most of them. An
            output that the encoder lacks takes none.
        whiten_frames: whiten the embeddings of frames too, not of clips alone.
    """

    scene: Union[str, Mapping[str, str]] = "max+mean"
    frame_context: float = 0.0
    context_outputs: Union[str, List[str]] = field(default_factory=lambda: ["-pitch_axis"])
    whiten: int = 0
    whiten_outputs: Union[str, List[str]] = "all"
    whiten_apart: Mapping[str, int] = field(default_factory=dict)
    whiten_frames: bool = True

    def __post_init__(self) -> None:
        if not self.scene:
            raise ParameterError("scene", "names no pooling")
        named = (
            {"scene": self.scene}
            if isinstance(self.scene, str)
            else {f"scene.{output}": pooling for output, pooling in self.scene.items()}
        )
        for name, pooling in named.items():
            for part in pooling.split("+"):
                check_choice(name, part, SCENE_POOLS)
            if len(set(pooling.split("+"))) < len(pooling.split("+")):
                raise ParameterError(name, f"names a pooling twice: {pooling!r}")
        check_range("frame_context", self.frame_context, 0.0, 60.0)
        check_range("whiten", self.whiten, 0, 65536)
        for name, size in self.whiten_apart.items():
            check_range(f"whiten_apart.{name}", size, 1)
        if self.whiten and sum(self.whiten_apart.values()) >= self.whiten:
            raise ParameterError(
                "whiten_apart",
                f"takes {sum(self.whiten_apart.values())} values, whiten has {self.whiten}; leave some to the others",
            )


def settings_from(cls: Type[Settings], given: Mapping[str, Any], path: str) -> Settings:
    """Checked settings from a YAML mapping.

    Raises:
        ConfigError: unknown key, wrong type or value out of range, by key path.
    """
    if not isinstance(given, Mapping):
        raise ConfigError(f"{path}: expected a mapping, got {given!r}")
    hints = typing.get_type_hints(cls)
    for key in given:
        if key not in hints:
            raise ConfigError(f"{path}.{key}: nothing reads this key{nearest(key, hints)} (known: {', '.join(hints)})")
    values = {key: checked(value, hints[key], f"{path}.{key}") for key, value in given.items()}
    try:
        return cls(**values)
    except ParameterError as error:
        raise ConfigError(f"{path}.{error.parameter}: {error.message}") from None
