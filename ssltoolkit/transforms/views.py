"""Views: a cut of a clip and its transforms."""

from __future__ import annotations

from dataclasses import dataclass, field, is_dataclass
from typing import Dict, Optional, Sequence, Tuple

import numpy as np

from ssltoolkit.data.segments import Cut
from ssltoolkit.errors import ParameterError, class_name
from ssltoolkit.registry import REGISTRY, nearest
from ssltoolkit.transforms.base import DOMAINS, RATIOS, SCOPES, Params, Transform


@dataclass(frozen=True)
class View:
    """One rendering of a cut. Equal views are rendered and encoded once and shared by strategies.

    Args:
        cut: the segment.
        transforms: its transforms, applied in the order of their domains, and as listed within a domain.
        draw: views that differ only here draw their transforms' parameters independently.

    Raises:
        ParameterError: two transforms with the same name, or one that is not a frozen dataclass of plain values, lacks
            a method, or has an unknown domain or scope.
    """

    cut: Cut = field(default_factory=Cut)
    transforms: Sequence[Transform] = ()
    draw: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "transforms", tuple(self.transforms))
        for transform in self.transforms:
            _check_comparable(transform)
            _check_complete(transform)
        names = [transform.registered_name for transform in self.transforms]
        for name in names:
            if names.count(name) > 1:  # drawn parameters are stored by name: the second would replace the first
                raise ParameterError("transforms", f"name {name!r} twice in one view; keep one")

    def of_domain(self, domain: str) -> Tuple[Transform, ...]:
        """The transforms of one domain, in order."""
        return tuple(transform for transform in self.transforms if transform.domain == domain)


def _check_comparable(transform: Transform) -> None:
    """Check that equality and repr of a transform do not depend on memory addresses: equality decides which views are
    shared, repr seeds their draws.
    """
    own = (
        is_dataclass(transform)
        and type(transform).__hash__ not in (None, object.__hash__)
        and " at 0x" not in repr(transform)
    )
    try:
        hash(transform)
    except TypeError:  # unhashable, for example because a field is a list
        own = False
    if not own:
        raise ParameterError(
            "transforms",
            f"contain a {type(transform).__name__}, which cannot be compared; put @dataclass(frozen=True) above "
            "its class, "
            "below @register, and let its fields be numbers, texts or tuples of them (Tuple[float, ...], not a list)",
        )


def _check_complete(transform: Transform) -> None:
    """Check domain, scope and methods of a transform: one of an unknown domain would never be applied."""
    cls = type(transform)
    for name, known in (("domain", DOMAINS), ("scope", SCOPES)):
        value = getattr(transform, name, None)
        if value not in known:
            raise ParameterError(
                "transforms",
                f"contain a {class_name(cls)} whose {name} is {value!r}; write one of {', '.join(map(repr, known))} "
                "into its class",
            )
    for method in ("draw", "apply")[: 1 if transform.domain in RATIOS else 2]:  # the frontend applies a ratio
        if getattr(cls, method) is getattr(Transform, method):
            raise ParameterError("transforms", f"contain a {class_name(cls)} without the method {method}(); write it")


@dataclass
class RenderedView:
    """A view of this batch with its drawn parameters, as passed to samplers.

    Attributes:
        view: its description.
        start: (B,) float64, start of each segment in its clip, seconds.
        params: transform name -> parameter -> (B, ...) array as drawn.
        period: (B,) float64, seconds after which a clip shorter than the segment repeats, inf for longer clips; None if
            no clip is shorter.
    """

    view: View
    start: np.ndarray
    params: Dict[str, Params]
    period: Optional[np.ndarray] = None

    def param(self, transform: str, name: str) -> Optional[np.ndarray]:
        """A drawn parameter, or None if the view does not have that transform.

        Raises:
            ParameterError: no transform has that name, or it does not draw that parameter.
        """
        drawn = self.params.get(transform)
        if drawn is not None and name in drawn:
            return drawn[name]
        if drawn is None and transform in REGISTRY.available("transform"):
            return None
        if drawn is None:
            problem = f"no transform {transform!r}{nearest(transform, self.params)}; the view has "
        else:
            problem = f"transform {transform!r} draws no {name!r}{nearest(name, drawn)}; it draws "
        problem += ", ".join(self.params if drawn is None else drawn) or "none"
        raise ParameterError(f"param({transform!r}, {name!r}):", problem)


@dataclass
class FrameGrid:
    """Size and timing of the encoder's output frames in a batch, and the groups of its clips.

    Attributes:
        size: number of clips in the batch, B.
        frames: number of frames of each view, T'.
        hop_ms: distance between frame centres, milliseconds.
        groups: (B,) int64, ``utt2group`` group of each clip, -1 for none; None if no sampler uses groups.
    """

    size: int
    frames: int
    hop_ms: float
    groups: Optional[np.ndarray] = None

    @property
    def centres_ms(self) -> np.ndarray:
        """(T',) frame centres from the segment's start, milliseconds."""
        return (np.arange(self.frames) + 0.5) * self.hop_ms

    def distances_ms(self, first: RenderedView, second: RenderedView) -> np.ndarray:
        """(B, T', T') time distance between the frames of two views of each clip in milliseconds; rows are the first's.

        Repetitions of a short clip count as the same time.
        """
        centres = self.centres_ms
        offset = 1000.0 * (second.start - first.start)
        difference = centres[None, None, :] - centres[None, :, None] + offset[:, None, None]
        if first.period is not None:
            period = 1000.0 * first.period[:, None, None]
            finite = np.where(np.isfinite(period), period, 1.0)
            difference -= np.where(np.isfinite(period), finite * np.round(difference / finite), 0.0)
        return np.abs(difference)

    def distinct_frames(self, view: RenderedView) -> np.ndarray:
        """(B,) int64, number of frames of each clip before it repeats; at least one."""
        if view.period is None:
            return np.full(self.size, self.frames)
        return np.clip(np.ceil(1000.0 * view.period / self.hop_ms), 1, self.frames).astype(np.int64)
