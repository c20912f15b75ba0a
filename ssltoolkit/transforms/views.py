"""Views: which segment of a clip is cut and how it is transformed."""

from __future__ import annotations

from dataclasses import dataclass, field, is_dataclass
from typing import Dict, Optional, Sequence, Tuple

import numpy as np

from ssltoolkit.data.segments import Cut
from ssltoolkit.errors import ParameterError
from ssltoolkit.transforms.base import Params, Transform


@dataclass(frozen=True)
class View:
    """One rendering of a cut. Equal views are rendered and encoded once, whoever asks for them.

    Args:
        cut: the segment.
        transforms: what is done to it; applied in the order of their domains, within a domain as listed.
        draw: views that differ only here draw their transforms' parameters independently.

    Raises:
        ParameterError: two transforms of one name, or one that is not a frozen dataclass of plain values.
    """

    cut: Cut = field(default_factory=Cut)
    transforms: Sequence[Transform] = ()
    draw: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "transforms", tuple(self.transforms))
        for transform in self.transforms:
            _check_comparable(transform)
        names = [transform.registered_name for transform in self.transforms]
        for name in names:
            if names.count(name) > 1:  # what is drawn is kept by name: the second would replace the first
                raise ParameterError("transforms", f"name {name!r} twice in one view; keep one")

    def of_domain(self, domain: str) -> Tuple[Transform, ...]:
        """The transforms of one domain, in order."""
        return tuple(transform for transform in self.transforms if transform.domain == domain)


def _check_comparable(transform: Transform) -> None:
    """Views are shared where their transforms are equal and drawn by what these print: neither may be a matter of
    memory addresses.
    """
    own = (
        is_dataclass(transform)
        and type(transform).__hash__ not in (None, object.__hash__)
        and " at 0x" not in repr(transform)
    )
    try:
        hash(transform)
    except TypeError:  # one of its fields is a list, or the like
        own = False
    if not own:
        raise ParameterError(
            "transforms",
            f"hold a {type(transform).__name__}, of which two cannot be compared; put @dataclass(frozen=True) above "
            "its class, "
            "below @register, and let its fields be numbers, texts or tuples of them (Tuple[float, ...], not a list)",
        )


@dataclass
class RenderedView:
    """What a sampler may know of a view of this batch.

    Attributes:
        view: its description.
        start: (B,) float64, start of each segment in its clip, seconds.
        params: transform name -> parameter -> (B, ...) array as drawn.
        period: (B,) float64, seconds after which a clip shorter than the segment is repeated in it; inf for the others,
            None where no clip is.
    """

    view: View
    start: np.ndarray
    params: Dict[str, Params]
    period: Optional[np.ndarray] = None

    def param(self, transform: str, name: str) -> Optional[np.ndarray]:
        """A drawn parameter, or None if the view does not have that transform."""
        return self.params.get(transform, {}).get(name)


@dataclass
class FrameGrid:
    """The encoder's output frames, and which clips of the batch belong together.

    Attributes:
        size: clips in the batch, B.
        frames: frames of each view, T'.
        hop_ms: distance of frame centres, milliseconds.
        groups: (B,) int64, group of each clip as ``utt2group`` has it, -1 for none; None where no sampler asks.
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
        """(B, T', T') distance in time of the frames of two views of each clip, rows those of the first, milliseconds.

        A moment that a short clip's repetition brings again is the same moment.
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
        """(B,) int64, frames of each clip before it is repeated; at least one."""
        if view.period is None:
            return np.full(self.size, self.frames)
        return np.clip(np.ceil(1000.0 * view.period / self.hop_ms), 1, self.frames).astype(np.int64)
