#!/usr/bin/env python3
"""Smoke test of an installation: import the toolkit, embed a second of audio with the shipped model through the program
and the HEAR API.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path


def main() -> None:
    import numpy as np
    import soundfile
    import torch

    import ssltoolkit
    import ssltoolkit.hear as hear

    wave = (0.3 * np.sin(2 * np.pi * 440 * np.arange(16000) / 16000)).astype(np.float32)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        soundfile.write(folder / "a.wav", wave, 16000)
        subprocess.run(
            [sys.executable, "-m", "ssltoolkit.bin.embed", str(folder / "a.wav"), "-o", str(folder / "e.npz")],
            check=True,
        )
        with np.load(folder / "e.npz") as arrays:
            scene = arrays["a.scene"]
    model = hear.load_model()
    other = hear.get_scene_embeddings(torch.from_numpy(wave)[None], model)[0].numpy()
    cosine = float(scene @ other / np.linalg.norm(scene) / np.linalg.norm(other))
    assert np.isfinite(scene).all() and cosine > 0.999, f"the program and the HEAR API differ (cosine {cosine:.4f})"
    print(
        f"ssltoolkit {ssltoolkit.__version__} on Python {sys.version.split()[0]}, torch {torch.__version__}: imports "
        "and embeds"
    )


if __name__ == "__main__":
    main()
