"""Fixtures shared by all tests: synthetic waves, data directories and small configurations."""

import os
import subprocess
import sys
from pathlib import Path

# Set before NumPy or torch is imported: tests are many small computations, and the machine may be shared.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[1]
# pytest adds this folder, whose ssltoolkit/ holds only tests, to the path: put the package's folder before it.
sys.path.insert(0, str(ROOT))

TINY_YAML = """
frontend: {name: logmel, n_mels: 16}
encoder: {name: cnn_small, width: 4, embed_dim: 16}
strategies:
  clip:
    sampler: {name: clip, anchor: [{name: mix}, {name: gain}], positive: [{name: white_noise}]}
    head: {name: projection, out_dim: 8}
    loss: {name: info_nce, similarity: {name: bilinear}}
  frame:
    weight: 0.5
    sampler: {name: frame_aligned, positive: [{name: gain}, {name: filter}], max_offset: 0.1, gap_ms: 80}
    head: {name: projection, out_dim: 8}
    loss: {name: info_nce, similarity: {name: cosine}, symmetric: true}
  pitch:
    weight: 0.25
    sampler: {name: pitch_shift}
    head: {name: projection, out_dim: 1}
    loss: {name: difference_regression}
optimizer: {name: adamw, lr: 3e-3}
scheduler: {name: cosine, warmup_steps: 3}
training:
  {max_steps: 8, batch_size: 6, threads: 1, device: cpu, log_interval: 2, valid_interval: 4, checkpoint_interval: 4, collapse_rank: 0}
"""


@pytest.fixture
def make_waves():
    """make_waves(count, seconds, rate, seed): harmonic tones of different pitch in noise, float64 in [-0.5, 0.5]."""

    def make(count=6, seconds=1.3, rate=16000, seed=0):
        waves = []
        for index in range(count):
            rng = np.random.default_rng([seed, index])
            time = np.arange(int(seconds * rate)) / rate
            f0 = 110.0 * 2.0 ** (index * 5 % 24 / 12.0)
            tone = sum(np.sin(2 * np.pi * k * f0 * time + rng.uniform(0, 6)) / k for k in range(1, 6))
            swell = 0.2 + np.abs(np.sin(2 * np.pi * rng.uniform(0.5, 3.0) * time))
            wave = tone * swell + 0.02 * rng.standard_normal(len(time))
            waves.append(0.5 * wave / np.max(np.abs(wave)))
        return waves

    return make


@pytest.fixture
def write_data(tmp_path):
    """write_data(name, waves, rate, extension, **tables): write audio files and a data directory; return its path."""
    import soundfile

    def write(name, waves, rate=16000, extension="wav", **tables):
        folder = tmp_path / name
        (folder / "audio").mkdir(parents=True, exist_ok=True)
        lines = []
        for index, wave in enumerate(waves):
            path = folder / "audio" / f"utt{index:02d}.{extension}"
            soundfile.write(path, wave, rate)
            lines.append(f"utt{index:02d} {path}\n")
        (folder / "wav.scp").write_text("".join(lines))
        for table, text in tables.items():
            (folder / table).write_text(text)
        return folder

    return write


@pytest.fixture
def format_data(tmp_path, write_data):
    """format_data(name, waves, **tables): write such a directory and run stage 2; return the path of its output."""
    from ssltoolkit.stages.format import Formatter

    def make(name, waves, sample_rate=16000, **tables):
        out = tmp_path / f"{name}-formatted"
        formatter = Formatter(write_data(name, waves, **tables), out, sample_rate)
        formatter.run_job(1, 1)
        formatter.finish(0.0)
        return out

    return make


@pytest.fixture
def tiny_yaml(tmp_path):
    """Path of a small configuration with all three strategies."""
    path = tmp_path / "tiny.yaml"
    path.write_text(TINY_YAML)
    return path


@pytest.fixture
def tiny_config(tiny_yaml):
    """tiny_config('a.b=c', ...): that configuration with overrides, resolved."""
    from ssltoolkit.config import load_config

    return lambda *overrides: load_config(tiny_yaml, overrides)


@pytest.fixture
def program(tmp_path):
    """program('format', ...): run one program of the toolkit in a process, in the test's temporary directory."""

    def call(name, *arguments, env=None, timeout=120):
        environment = {**os.environ, "PYTHONPATH": str(ROOT), **(env or {})}
        return subprocess.run(
            [sys.executable, "-m", "ssltoolkit.bin.main", name, *map(str, arguments)], cwd=tmp_path, env=environment,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=timeout,
        )  # fmt: skip

    return call
