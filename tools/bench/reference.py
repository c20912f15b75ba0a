"""Plain reference implementations, written from the equations: loops over items, NCHW, float32, eager.

The benchmarks compare speed with them, and the tests compare numbers and gradients.

Symbols: B clips, N samples, T frames, F mel bands, T' encoder frames, D embedding size.
"""

from __future__ import annotations

import importlib.util
import zlib
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from ssltoolkit.frontends.logmel import LogMel
from ssltoolkit.transforms.views import View

#: method to transpose a clip in speed measurements: the published one or, without librosa, a cheaper substitute
VOCODER = "librosa" if importlib.util.find_spec("librosa") else "scipy resample (librosa is not installed)"


def _mel(hz: float) -> float:
    return 2595.0 * np.log10(1.0 + hz / 700.0)


def mel_bank(frontend: LogMel, ratio: float = 1.0) -> np.ndarray:
    """(bins, F) triangles, band by band, with edges divided by ratio. Bands above the Nyquist frequency read the highest
    band; no band is narrower than the narrowest at ratio 1, or than the distance between bins."""
    nyquist, bands = frontend.sample_rate / 2, frontend.n_mels
    low, high = float(frontend.edges[0, 0]), float(frontend.edges[2, -1])
    points = 700.0 * (10.0 ** (np.linspace(_mel(low), _mel(high), bands + 2) / 2595.0) - 1.0)
    frequency = np.linspace(0.0, nyquist, frontend.n_fft // 2 + 1)
    narrowest = 0.999 * min(np.diff(points).min(), frequency[1])
    bank = np.zeros((len(frequency), bands))
    for band in range(bands):
        left, centre, right = points[band : band + 3] / max(ratio, points[band + 2] / nyquist)
        left, right = min(left, centre - narrowest), max(right, centre + narrowest)
        for bin_, hz in enumerate(frequency):
            if left < hz < right:
                bank[bin_, band] = (hz - left) / (centre - left) if hz <= centre else (right - hz) / (right - centre)
    return bank


class ItemRenderer:
    """Renders views clip by clip.

    Args:
        frontend: frontend with the settings and statistics.
        views: as for :class:`~ssltoolkit.transforms.render.Renderer`; supported transforms: white_noise, pitch_shift,
            mix, gain.
        vocoder: transpose the wave (as the published code does) instead of the mel bank.
    """

    def __init__(self, frontend: LogMel, views: Sequence[View], vocoder: bool = False) -> None:
        self.frontend, self.views, self.vocoder = frontend, list(views), vocoder
        self.bank = mel_bank(frontend)
        self.window = frontend.window.numpy().astype(np.float64)
        self.mean, self.std = frontend.mean.numpy(), frontend.std.numpy()

    def __call__(self, waves: Mapping[Any, Tensor], seed: Sequence[int]) -> List[np.ndarray]:
        """Features (B, T, F) of each view, with the same random draws as our renderer for this seed."""
        return [self._view(view, waves[view.cut].numpy(), seed) for view in self.views]

    def _view(self, view: View, waves: np.ndarray, seed: Sequence[int]) -> np.ndarray:
        drawn, noise = _draws(view, waves.shape, seed)
        ratios = drawn.get("pitch_shift", {}).get("ratio", np.ones(len(waves)))
        mels = []
        for wave, added, ratio in zip(waves, noise, ratios):
            wave = wave + added
            if self.vocoder and ratio != 1.0:
                wave = transposed(wave, self.frontend.sample_rate, float(ratio))
            mels.append(self._mel(wave, 1.0 if self.vocoder else float(ratio)))
        mixed = [self._mixed(row, mels, drawn.get("mix")) for row in range(len(mels))]
        gains = drawn.get("gain", {}).get("db", np.zeros(len(waves)))
        loud = [mel * 10.0 ** (db / 10.0) for mel, db in zip(mixed, gains)]
        return np.stack([(np.log(mel + self.frontend.log_floor) - self.mean) / self.std for mel in loud]).astype(
            np.float32
        )

    def log_mel(self, wave: np.ndarray) -> np.ndarray:
        """(N,) to (T, F) log-mel before normalisation, float32."""
        return np.log(self._mel(wave, 1.0) + self.frontend.log_floor).astype(np.float32)

    def _mel(self, wave: np.ndarray, ratio: float) -> np.ndarray:
        n_fft, hop = self.frontend.n_fft, self.frontend.hop_length
        left = (n_fft - hop) // 2
        padded = np.pad(wave, (left, n_fft))
        frames = [padded[t * hop : t * hop + n_fft] * self.window for t in range(len(wave) // hop)]
        power = np.abs(np.fft.rfft(np.stack(frames))) ** 2
        return power @ (self.bank if ratio == 1.0 else mel_bank(self.frontend, ratio))

    @staticmethod
    def _mixed(row: int, mels: List[np.ndarray], drawn: Optional[Mapping[str, np.ndarray]]) -> np.ndarray:
        if drawn is None or not drawn["mixed"][row]:
            return mels[row]
        other = mels[drawn["partner"][row]]
        return mels[row] + other * mels[row].mean() / other.mean() * 10.0 ** (-drawn["snr_db"][row] / 10.0)


def _draws(
    view: View, shape: Tuple[int, int], seed: Sequence[int]
) -> Tuple[Dict[str, Dict[str, np.ndarray]], np.ndarray]:
    """Random draws of a view in this batch: parameters by transform, and noise (B, N)."""
    rng = np.random.default_rng([*seed, zlib.crc32(repr(view).encode())])
    drawn = {transform.registered_name: transform.draw(shape[0], rng) for transform in view.transforms}
    generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
    noise = np.zeros(shape, np.float32)
    for transform in view.transforms:
        if transform.registered_name == "white_noise":
            noise = transform.std * torch.randn(shape, generator=generator).numpy()
    return drawn, noise


def transposed(wave: np.ndarray, rate: int, ratio: float) -> np.ndarray:
    """One clip (N,) with every frequency multiplied by ``ratio``, by :data:`VOCODER`; resampling also changes tempo."""
    if VOCODER == "librosa":
        import librosa

        return librosa.effects.pitch_shift(wave, sr=rate, n_steps=12.0 * np.log2(ratio))
    from scipy.signal import resample

    return np.resize(resample(wave, int(round(len(wave) / ratio))), len(wave))


def _conv_norm(pair: nn.Sequential, x: Tensor) -> Tensor:
    conv, norm = pair
    y = functional.conv2d(x, conv.weight, None, conv.stride, conv.padding, 1, conv.groups)
    return functional.batch_norm(
        y, norm.running_mean, norm.running_var, norm.weight, norm.bias, norm.training, norm.momentum, norm.eps
    )


def efficientnet(encoder: nn.Module, x: Tensor) -> Tensor:
    """(B, T, F) to (B, T', D) with the weights of an ``efficientnet_b0`` without stochastic depth, in the default
    (NCHW) layout.
    """
    y = functional.silu(_conv_norm(encoder.stem, x.unsqueeze(1).contiguous()))
    for block in encoder.blocks:
        z = y if block.expand is None else functional.silu(_conv_norm(block.expand, y))
        z = functional.silu(_conv_norm(block.depthwise, z))
        excite = block.excite
        gate = functional.silu(
            functional.conv2d(z.mean((2, 3), keepdim=True), excite.reduce.weight, excite.reduce.bias)
        )
        z = z * torch.sigmoid(functional.conv2d(gate, excite.expand.weight, excite.expand.bias))
        z = _conv_norm(block.project, z)
        y = y + z if block.residual else z
    y = functional.conv2d(y, encoder.last.weight)
    return functional.linear(y.amax(3).transpose(1, 2), encoder.linear.weight, encoder.linear.bias)


def _head(head: nn.Module, h: Tensor) -> Tensor:
    h = functional.layer_norm(h, h.shape[-1:], head.norm.weight, head.norm.bias, head.norm.eps)
    return functional.linear(torch.tanh(h), head.linear.weight, head.linear.bias)


def paper_loss(model: nn.Module, anchor: Tensor, positive: Tensor, shifted: Tensor, shift: Tensor) -> Tensor:
    """L_clip + alpha L_frame + beta L_pitch of the paper from encoder frames (B, T', D) of three views; shift p is
    (B,).
    """
    clip, frame, pitch = (model.strategies[name] for name in ("clip", "frame", "pitch"))
    a, p = _head(clip.head, anchor.amax(1)), _head(clip.head, positive.amax(1))
    loss = functional.cross_entropy(a @ clip.loss.similarity.weight @ p.T, torch.arange(len(a)))
    per_frame = _head(frame.head, anchor)
    frame_loss = sum(
        functional.cross_entropy(z @ frame.loss.similarity.weight @ z.T, torch.arange(len(z))) for z in per_frame
    )
    difference = (_head(pitch.head, shifted) - _head(pitch.head, anchor)).squeeze(-1)
    pitch_loss = ((difference - shift[:, None]) ** 2).mean()
    return loss + frame.weight * frame_loss / len(per_frame) + pitch.weight * pitch_loss


class PlainTraining:
    """Plain implementation of the paper's training step.

    Args:
        model: a copy of the model with the paper's configuration; its weights are trained.
        lr: learning rate of Adam. clip: largest gradient norm.
        published: use the vocoder, and one encoder pass per view (each with separate batch statistics), as published;
            otherwise the toolkit's mathematics, for equal numbers: warped mel banks, and one pass over the three views.
    """

    def __init__(self, model: nn.Module, lr: float, clip: float, published: bool) -> None:
        self.model, self.clip, self.published = model, clip, published
        self.render = ItemRenderer(model.frontend, model.views, vocoder=published)
        self.optimizer = torch.optim.Adam(model.parameters(), lr=lr, foreach=False)

    def loss(self, batch: Any) -> Tensor:
        """Joint loss of one batch of the dataset."""
        views = [torch.from_numpy(view) for view in self.render(batch.waves, batch.seed)]
        encoder = self.model.encoder
        if self.published:
            frames = [efficientnet(encoder, view) for view in views]
        else:
            frames = list(efficientnet(encoder, torch.cat(views)).chunk(len(views)))
        roles = {
            role: frames[self.model.views.index(view)]
            for s in self.model.strategies.values()
            for role, view in s.sampler.views.items()
        }
        view = self.model.strategies["pitch"].sampler.views["shifted"]
        drawn, _ = _draws(view, batch.waves[view.cut].shape, batch.seed)
        shift = torch.from_numpy(drawn["pitch_shift"]["ratio"] - 1.0)
        return paper_loss(self.model, roles["anchor"], roles["positive"], roles["shifted"], shift)

    def step(self, batch: Any) -> float:
        """Run one optimiser step; returns its loss."""
        self.optimizer.zero_grad()
        loss = self.loss(batch)
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), self.clip)
        self.optimizer.step()
        return loss.item()
