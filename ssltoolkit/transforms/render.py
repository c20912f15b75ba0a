"""Rendering of the distinct views of a batch: one spectrogram per cut, one mel product per view, on the device."""

from __future__ import annotations

import zlib
from typing import Dict, List, Mapping, Optional, Sequence, Tuple

import numpy as np
import torch
from torch import Tensor

from ssltoolkit.data.segments import Cut
from ssltoolkit.data.transfer import on_device
from ssltoolkit.distributed.collectives import Shard
from ssltoolkit.errors import UserError, kind_of, method_name, plugin_errors
from ssltoolkit.frontends.logmel import LogMel
from ssltoolkit.transforms.base import RATIOS, Params, Transform
from ssltoolkit.transforms.formant import with_envelope
from ssltoolkit.transforms.views import RenderedView, View


def distinct(views: Sequence[View]) -> List[View]:
    """The distinct views, in order of first occurrence."""
    return list(dict.fromkeys(views))


class Renderer:
    """Waves of the cuts to normalised log-mel of the views.

    Args:
        frontend: the log-mel frontend; everything is computed on its device.
        views: the distinct views, in the order of the output.
        names: names of the views, for messages.
    """

    def __init__(self, frontend: LogMel, views: Sequence[View], names: Optional[Mapping[View, str]] = None) -> None:
        self.frontend, self.views = frontend, list(views)
        self.names = {view: f"view {number} of cut {view.cut.name!r}" for number, view in enumerate(views)}
        self.names.update(names or {})

    @torch.no_grad()
    def __call__(
        self,
        waves: Mapping[Cut, Tensor],
        starts: Mapping[Cut, np.ndarray],
        seed: Sequence[int],
        shard: Optional[Shard] = None,
        periods: Optional[np.ndarray] = None,
    ) -> Tuple[Tensor, List[RenderedView]]:
        """Render one batch.

        Args:
            waves: cut -> (B, N) float32 in [-1, 1], on the frontend's device; with ``shard`` only its rows.
            starts: cut -> (B,) start of the segments, seconds.
            seed: integers that determine every draw of this batch (seed, step).
            shard: the rows of this process, None for all.
            periods: (B,) seconds after which clips repeat, as in :class:`~ssltoolkit.data.segments.Batch`.

        Returns:
            features (V, B, T, M) of the V views, with ``shard`` only of its rows, and the drawn parameters of each view
            for all B clips.

        Raises:
            UserError: a transform that draws or returns something else than it should, or code of a plugin failed.
        """
        # Run the frontend in float32, as for embeddings, whatever the encoder's precision.
        with torch.autocast(next(iter(waves.values())).device.type, enabled=False):
            return self._rendered(waves, starts, seed, shard, periods)

    def _rendered(
        self,
        waves: Mapping[Cut, Tensor],
        starts: Mapping[Cut, np.ndarray],
        seed: Sequence[int],
        shard: Optional[Shard],
        periods: Optional[np.ndarray],
    ) -> Tuple[Tensor, List[RenderedView]]:
        spectra: Dict[Cut, Tensor] = {}
        rendered = []
        wave = next(iter(waves.values()))
        shape = len(self.views), len(wave), self.frontend.frame_count(wave.shape[1]), self.frontend.n_mels
        features = wave.new_empty(shape, dtype=self.frontend.mean.dtype)
        leveled = {cut: self.frontend.leveled(wave) for cut, wave in waves.items()}
        for view, out in zip(self.views, features):
            wave = leveled[view.cut]
            key = zlib.crc32(repr(view).encode())
            rng = np.random.default_rng([*seed, key])
            params = {
                transform.registered_name: _drawn(transform, len(starts[view.cut]), rng, self.names[view])
                for transform in view.transforms
            }
            generator = torch.Generator(wave.device).manual_seed(int(rng.integers(2**62)))
            self.frontend.finished(self._resolutions(view, wave, params, generator, spectra, shard), out)
            rendered.append(RenderedView(view, starts[view.cut], params, periods))
        return features, rendered

    def _resolutions(
        self,
        view: View,
        wave: Tensor,
        params: Dict[str, Params],
        generator: torch.Generator,
        spectra: Dict[Cut, Tensor],
        shard: Optional[Shard],
    ) -> List[Tensor]:
        """Log-mel of the view in every resolution of the frontend."""
        on_wave, name = view.of_domain("wave"), self.names[view]
        # Without waveform transforms the spectrogram depends only on the cut, and its views share it.
        if on_wave:
            power = self.frontend.power(_apply(on_wave, wave, params, generator, shard, {}, name))
        elif view.cut in spectra:
            power = spectra[view.cut]
        else:
            power = spectra[view.cut] = self.frontend.power(wave)
        pitch, envelope = (_ratio(view, domain, params, shard, wave.device) for domain in RATIOS)
        mels = self.frontend.resolutions(power, pitch)
        if envelope is not None:
            moved = self.frontend.resolutions(power, envelope if pitch is None else pitch * envelope)
            triples = zip(mels, moved, self.frontend.envelope_bands)
            mels = [with_envelope(mel, other, self._log, width) for mel, other, width in triples]
        resolutions = []
        settled: Dict[str, Dict[str, Tensor]] = {}
        for mel in mels:
            mel = _apply(view.of_domain("mel"), mel, params, generator, shard, settled, name)
            log = _apply(view.of_domain("log"), self._log(mel), params, generator, shard, settled, name)
            resolutions.append(log if self.frontend.per_neper == 1.0 else log * self.frontend.per_neper)
        return resolutions

    def _log(self, mel: Tensor) -> Tensor:
        """Natural logarithm of mel power, whatever the frontend's unit."""
        log = self.frontend.log(mel)
        return log if self.frontend.per_neper == 1.0 else log / self.frontend.per_neper


def _apply(
    transforms: Sequence[Transform],
    x: Tensor,
    params: Dict[str, Params],
    generator: torch.Generator,
    shard: Optional[Shard],
    settled: Dict[str, Dict[str, Tensor]],
    view: str,
) -> Tensor:
    """Apply all transforms to ``x``; ``settled`` keeps their parameters for the next resolution."""
    for transform in transforms:
        name = transform.registered_name
        whole = shard if transform.scope != "clip" else None  # the transform needs all clips of the step
        given = x if whole is None else _whole(x, transform, whole)
        if name not in settled:
            drawn = params[name]
            if shard is not None and whole is None:
                drawn = {key: shard.take(value) for key, value in drawn.items()}
            with plugin_errors(_named(transform, view)):
                settled[name] = transform.settle(given, _on(x.device, drawn))
        with plugin_errors(_named(transform, view)):
            x = transform.apply(given, settled[name], generator)
        if not isinstance(x, Tensor) or x.shape != given.shape or x.dtype is not given.dtype:
            found = f"shape {tuple(x.shape)}, {x.dtype}" if isinstance(x, Tensor) else kind_of(x)
            raise UserError(
                f"{_named(transform, view)}: {method_name(transform, 'apply')} returned {found}, expected shape "
                f"{tuple(given.shape)}, {given.dtype}; return a tensor like its input x"
            )
        if whole is not None:
            x = whole.take(x)
    return x


def _drawn(transform: Transform, size: int, rng: np.random.Generator, view: str) -> Params:
    """Drawn parameters of ``size`` clips."""
    with plugin_errors(_named(transform, view)):
        drawn = transform.draw(size, rng)
    fault = _fault_of_draw(transform, drawn, size)
    if fault:
        raise UserError(f"{_named(transform, view)}: {method_name(transform, 'draw')} {fault}")
    return drawn


def _fault_of_draw(transform: Transform, drawn: object, size: int) -> Optional[str]:
    if not isinstance(drawn, dict):
        return f"returned {kind_of(drawn)}; return a dict of NumPy arrays, {{}} without parameters"
    for key, value in drawn.items():
        if not isinstance(value, np.ndarray) or value.shape[:1] != (size,) or value.dtype.kind not in "biuf":
            found = (
                f"of shape {value.shape}, {value.dtype}" if isinstance(value, np.ndarray) else f"as {kind_of(value)}"
            )
            return f"returned {key!r} {found}; return a NumPy array of numbers with {size} rows, one per clip"
    if transform.domain in RATIOS and "ratio" not in drawn:
        domain = transform.domain
        return f"returned no 'ratio'; a transform of the domain {domain!r} draws the frequency ratio under that name"
    return None


def _named(transform: Transform, view: str) -> str:
    return f"{view}, transform {transform.registered_name!r}"


def _whole(x: Tensor, transform: Transform, shard: Shard) -> Tensor:
    """All rows of the batch; a transform that does not read other clips gets arbitrary values in other rows."""
    if transform.scope == "batch":
        return shard.collect(x)
    whole = x.new_zeros((shard.total, *x.shape[1:]))
    whole[shard.first : shard.last] = x
    return whole


def _ratio(
    view: View, domain: str, params: Dict[str, Params], shard: Optional[Shard], device: torch.device
) -> Optional[Tensor]:
    """Product of the ratios (B,) that the view's transforms of this domain drew, None without any."""
    ratio = None
    for transform in view.of_domain(domain):
        drawn = on_device(torch.from_numpy(_rows(params[transform.registered_name]["ratio"], shard)), device)
        ratio = drawn if ratio is None else ratio * drawn
    return ratio


def _rows(values: np.ndarray, shard: Optional[Shard]) -> np.ndarray:
    return values if shard is None else shard.take(values)


def _on(device: torch.device, drawn: Params) -> Dict[str, Tensor]:
    return {key: on_device(torch.from_numpy(value), device) for key, value in drawn.items()}
