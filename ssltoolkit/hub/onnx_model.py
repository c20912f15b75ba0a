"""Inference of ONNX models with onnxruntime. This module does not import torch.

Shapes: B waves of N samples, T' frames, D size of an embedding.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
from pathlib import Path
from typing import Any, Callable, Dict, Tuple, Union

import numpy as np

from ssltoolkit.errors import UserError

PathLike = Union[str, Path]


def has_onnxruntime() -> bool:
    """Whether onnxruntime is installed."""
    return importlib.util.find_spec("onnxruntime") is not None


class OnnxModel:
    """A model exported by ``ssltoolkit export --format onnx``; waves and embeddings are NumPy arrays.

    A wave is processed in one pass, so memory grows with its length.

    Args:
        path: path of the file.
        device: ``cpu``, ``cuda`` (needs onnxruntime-gpu) or ``auto``.

    Attributes:
        sample_rate: Hz. hop_ms: milliseconds. scene_dim, frame_dim: sizes. identity: name and hash.

    Raises:
        UserError: onnxruntime is missing, or the file is not an exported model of this toolkit.

    Example:
        >>> scenes, frames = OnnxModel("general.onnx").both(np.zeros((1, 16000), np.float32))  # doctest: +SKIP
    """

    sample_rate: int
    hop_ms: float
    scene_dim: int
    frame_dim: int
    identity: Dict[str, str]

    def __init__(self, path: PathLike, device: str = "cpu") -> None:
        if not Path(path).is_file():
            raise UserError(f"{path}: no such file; ssltoolkit export --format onnx writes one")
        if not has_onnxruntime():
            raise UserError(f"{path}: onnxruntime is not installed: pip install onnxruntime")
        self._session = open_session(path, device)
        self.identity = {"model": str(path), "model_hash": hashlib.sha256(Path(path).read_bytes()).hexdigest()}
        try:
            known = json.loads(self._session.get_modelmeta().custom_metadata_map["ssltoolkit"])
            self.sample_rate, self.hop_ms = int(known["sample_rate"]), float(known["hop_ms"])
            self.scene_dim, self.frame_dim = int(known["scene_dim"]), int(known["frame_dim"])
        except (KeyError, TypeError, ValueError, AttributeError):
            raise UserError(
                f"{path}: not a model of this toolkit (its metadata do not mention ssltoolkit); "
                "ssltoolkit export --format onnx writes one"
            ) from None

    def both(self, waves: np.ndarray) -> Tuple[np.ndarray, np.ndarray]:
        """(B, N) float32 waves in [-1, 1] to scenes (B, D) and frames (B, T', D')."""
        return tuple(
            self._session.run(["scene", "frames"], {"waveform": np.ascontiguousarray(waves, dtype=np.float32)})
        )

    def streamed(self, waves: np.ndarray, take: Callable[[np.ndarray], None]) -> np.ndarray:
        """Return scenes and pass all frames to ``take`` in one call."""
        scenes, frames = self.both(waves)
        take(frames)
        return scenes

    def scenes(self, waves: np.ndarray) -> np.ndarray:
        """(B, N) waves to (B, D)."""
        return self._session.run(["scene"], {"waveform": np.ascontiguousarray(waves, dtype=np.float32)})[0]

    def frames(self, waves: np.ndarray) -> np.ndarray:
        """(B, N) waves to (B, T', D')."""
        return self._session.run(["frames"], {"waveform": np.ascontiguousarray(waves, dtype=np.float32)})[0]

    def timestamps_ms(self, count: int) -> np.ndarray:
        """Centres of ``count`` frames in milliseconds, float64."""
        return (np.arange(count) + 0.5) * self.hop_ms


def open_session(path: PathLike, device: str) -> Any:
    """An ``onnxruntime.InferenceSession`` with as many threads as ``OMP_NUM_THREADS`` says.

    Raises:
        UserError: not an ONNX file, or a CUDA device without onnxruntime's CUDA provider.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    threads = os.environ.get("OMP_NUM_THREADS", "")
    if threads.isdigit():
        options.intra_op_num_threads = int(threads)
    cuda = "CUDAExecutionProvider" in onnxruntime.get_available_providers()
    if device.startswith("cuda") and not cuda:
        raise UserError("--device cuda: this onnxruntime has no CUDA; install onnxruntime-gpu or leave the option out")
    providers = (["CUDAExecutionProvider"] if cuda and device != "cpu" else []) + ["CPUExecutionProvider"]
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=providers)
    except Exception as error:  # onnxruntime's errors have no other common base
        raise UserError(f"{path}: not readable as ONNX ({str(error).splitlines()[0][:200]})") from None
