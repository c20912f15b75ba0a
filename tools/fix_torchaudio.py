#!/usr/bin/env python3
"""Makes torchaudio importable beside a CPU-only torch, and proves that it works.

torchaudio's released extension modules are linked against CUDA, so beside a CPU-only torch
`import torchaudio` fails. Transforms, functionals and models do not need them: this moves
torchaudio/lib/*.so aside, into torchaudio/lib/cuda_only/, and moves them back should torch
become a CUDA build. Run it with the Python of the environment. Standard library only.

Exit status: 0 if torchaudio imports and computes a mel spectrogram; 2 otherwise.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from typing import List, Tuple

ASIDE = "cuda_only"

PROOF = """
import torch, torchaudio
mel = torchaudio.transforms.MelSpectrogram(
    sample_rate=16000, n_fft=1024, hop_length=160, n_mels=64
)(torch.linspace(-1.0, 1.0, 16000).unsqueeze(0))
assert tuple(mel.shape) == (1, 64, 101), f"mel spectrogram of shape {tuple(mel.shape)}"
assert bool(torch.isfinite(mel).all()), "mel spectrogram not finite"
print(f"torchaudio {torchaudio.__version__}: mel spectrogram {tuple(mel.shape)}, finite")
"""

BUILD = "import torch; print(torch.version.cuda or getattr(torch.version, 'hip', None) or 'cpu')"


def run(code: str) -> Tuple[bool, str]:
    """Runs Python code in a process of its own; returns success and its last line of output."""
    done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    lines = [line for line in done.stdout.splitlines() if line.strip()]
    return done.returncode == 0, lines[-1].strip() if lines else ""


def move(files: List[Path], folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    for path in files:
        path.replace(folder / path.name)


def main() -> int:
    spec = importlib.util.find_spec("torchaudio")
    if spec is None or spec.origin is None:
        return fail("torchaudio is not installed in this environment; run tools/setup.sh")
    lib = Path(spec.origin).parent / "lib"
    works, build = run(BUILD)
    if not works:
        return fail(f"torch cannot be imported ({build}); run tools/setup.sh --force")
    if build != "cpu" and list((lib / ASIDE).glob("*.so")):
        move(sorted((lib / ASIDE).glob("*.so")), lib)
        print(f"torch is a build for {build}: moved torchaudio's extension modules back")
    works, reason = run("import torchaudio")
    if not works:
        extensions = sorted(lib.glob("*.so"))
        if build != "cpu" or not extensions:
            return fail(f"import torchaudio fails ({reason}); try another TORCHAUDIO_VERSION")
        move(extensions, lib / ASIDE)
        names = ", ".join(path.name for path in extensions)
        print(f"torch is CPU-only: moved torchaudio's CUDA-linked {names} to {lib / ASIDE}")
        works, reason = run("import torchaudio")
        if not works:
            move(sorted((lib / ASIDE).glob("*.so")), lib)
            return fail(f"import torchaudio still fails ({reason}); its modules are back in {lib}")
    proved, said = run(PROOF)
    if not proved:
        return fail(f"torchaudio does not compute ({said}); try another TORCHAUDIO_VERSION")
    print(said)
    return 0


def fail(message: str) -> int:
    print(f"fix_torchaudio.py: {message}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
