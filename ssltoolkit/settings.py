"""The ``training:`` and ``embedding:`` sections of a configuration."""

from __future__ import annotations

import dataclasses
import typing
from dataclasses import dataclass, field
from typing import Any, Dict, List, Mapping, Type, TypeVar, Union

from ssltoolkit.annotations import checked
from ssltoolkit.errors import ConfigError, ParameterError, check_choice, check_range
from ssltoolkit.registry import nearest

#: poolings over time; a scene embedding concatenates one or more
SCENE_POOLS = ("max", "mean", "std")

Settings = TypeVar("Settings", bound="_Settings")


@dataclass(frozen=True)
class _Settings:
    def as_dict(self) -> Dict[str, Any]:
        """All values, as saved to YAML."""
        return dataclasses.asdict(self)


@dataclass(frozen=True)
class TrainingSettings(_Settings):
    """Training length, batch size, precision, device and logging.

    Args:
        max_steps: optimiser steps.
        batch_size: clips per forward pass, at least 2; contrastive negatives come from these.
        accumulate: forward passes per optimiser step.
        cached_batch: one loss over the clips of all ``accumulate`` passes instead of one loss per pass, so that every
            clip has all others as negatives. Memory holds the graph of one pass, and each pass is computed twice
            (gradient caching, Gao et al. 2021). Batch normalisation uses the statistics of each pass.
        segment_seconds: length of every cut.
        unit_seconds: a longer clip enters an epoch once per stretch of this length, so that long recordings count in
            proportion to their length; 0 takes every clip once.
        short_clips: a clip shorter than a cut is repeated (``repeat``) or followed by silence (``zero``).
        joint: ``sum`` or ``product`` of the strategies' losses, or ``uncertainty`` (a sum with learned weights).
        grad_clip: largest gradient norm; 0 does not clip.
        precision: ``fp32``, or ``bf16`` for the encoder and heads (losses are always fp32; not every processor
            supports bf16); ``auto`` picks ``bf16`` where it is faster.
        seed: seed of all random draws.
        threads: CPU threads; 0 means the machine's default.
        device: ``auto`` uses a GPU if there is one.
        channels_last: store convolution weights channels-last, which speeds up half precision on a GPU. This option
            and the next two change only rounding, and have no effect on a CPU.
        cudnn_benchmark: time the GPU's convolution algorithms and use the fastest; two runs may then differ in the
            last digits.
        compile: apply ``torch.compile`` to the encoder on a GPU; takes a minute or more before the first step. If it
            fails, training goes on uncompiled with a warning.
        log_interval: steps between lines of the training log.
        valid_interval: steps between validations.
        checkpoint_interval: steps between checkpoints to resume from.
        max_bad_losses: consecutive steps with a non-finite loss or gradient to skip; one more stops the run.
        collapse_rank: warn when the effective rank of the embeddings falls below this.
        collapse_stop: stop after this many consecutive log lines with collapsed embeddings; 0 only warns.
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
    """Pooling, context and whitening of frozen embeddings.

    Args:
        scene: pooling of frames over time into a clip embedding: ``max``, ``mean``, ``std``, or several concatenated,
            such as ``max+mean``. A mapping sets it for each encoder output (the encoder's docstring names them) and
            for all ``others``: ``{pitch_axis: max+mean, others: max+std}``. Outputs that the mapping does not cover
            are not part of the clip embedding.
        frame_context: seconds around a frame whose mean is appended to the frame's embedding; 0 for none.
            A probe on single frames then also sees the surrounding sound.
        context_outputs: encoder outputs whose context mean is appended: ``all``, names, or names prefixed with ``-``
            (all but these). The default leaves out the pitch axis: a frame has one pitch, a second of audio has many.
        whiten: number of whitened directions kept for clip and frame embeddings
            (:class:`~ssltoolkit.whitening.Whitening`), fitted on the unlabelled pre-training audio; 0 turns whitening
            off.
        whiten_outputs: encoder outputs that are whitened, in the syntax of ``context_outputs``; the others are
            standardised and appended.
        whiten_apart: outputs that are whitened separately, and how many of the ``whiten`` values each gets, as in
            ``{pitch_axis: 256}``. Whitened jointly, a wide output would take most of the values. Outputs that the
            encoder lacks are ignored.
        whiten_frames: whiten frame embeddings too, not only clip embeddings.
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


#: sections of a configuration that are no components
SECTIONS: Dict[str, Type[_Settings]] = {"training": TrainingSettings, "embedding": EmbeddingSettings}
