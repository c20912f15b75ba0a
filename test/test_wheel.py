"""The built wheel, installed without a source tree: programs work, and their output names none of its tools."""

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import numpy as np
import pytest
import soundfile

import ssltoolkit

ROOT = Path(__file__).resolve().parents[1]


def run(*command, cwd, **environment):
    clean = {
        name: value
        for name, value in os.environ.items()
        if name not in ("PYTHONPATH", "VIRTUAL_ENV", "MAIN_ROOT", "PYTHONHOME")
    }
    done = subprocess.run(
        list(map(str, command)), cwd=cwd, env={**clean, **environment}, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """An environment with the wheel; its dependencies are the installed packages of the tests."""
    folder = tmp_path_factory.mktemp("wheel")
    (folder / "source").mkdir()
    for name in ("setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder / "source")
    shutil.copytree(ROOT / "ssltoolkit", folder / "source/ssltoolkit", ignore=shutil.ignore_patterns("__pycache__"))
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input"]
    run(*pip, "wheel", "--no-deps", "--no-build-isolation", "--no-index", "-w", folder, folder / "source", cwd=folder)
    (wheel,) = folder.glob("*.whl")
    assert wheel.name.startswith(f"ssltoolkit-{ssltoolkit.__version__}-")
    shutil.rmtree(folder / "source")
    run(sys.executable, "-m", "venv", "--without-pip", folder / "env", cwd=folder)
    run(*pip, "--python", folder / "env/bin/python", "install", "--no-deps", "--no-index", wheel, cwd=folder)
    packages = next((folder / "env/lib").glob("python*/site-packages"))
    # Paths in a .pth file are added as they are: .pth files in them, such as of an editable installation, are not read.
    (packages / "dependencies.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    place = run(folder / "env/bin/python", "-c", "import ssltoolkit; print(ssltoolkit.__file__)", cwd=folder)
    assert str(folder / "env") in place
    return folder


def test_programs_of_the_wheel(installed):
    soundfile.write(installed / "a.wav", 0.1 * np.random.default_rng(0).standard_normal(16000), 16000)
    program = installed / "env/bin/ssltoolkit"
    said = run(program, "embed", "a.wav", "-o", "a.npz", cwd=installed) + run(program, "doctor", cwd=installed)
    said += run(program, "--version", cwd=installed) + run(program, "components", cwd=installed)
    said += run(program, "export", "--model", "shipped", "--output", "model", cwd=installed)
    assert ssltoolkit.__version__ in said and "tools/setup.sh" not in said, said
    assert np.load(installed / "a.npz")["a.scene"].shape == (1024,)


USE = """
import torch, ssltoolkit
from ssltoolkit import hear
model = ssltoolkit.FrozenModel.from_pretrained("shipped")
model.save_pretrained("saved")
again = ssltoolkit.FrozenModel.from_pretrained("saved")
wave = torch.rand(1, 16000) - 0.5
assert model.scenes(wave).equal(again.scenes(wave))
loaded = hear.load_model("saved")
frames, times = hear.get_timestamp_embeddings(wave, loaded)
assert frames.shape == (1, 25, loaded.timestamp_embedding_size) and hear.get_scene_embeddings(wave, loaded).equal(model.scenes(wave))
"""


def test_modules_of_the_wheel(installed):
    assert "tools/setup.sh" not in run(installed / "env/bin/python", "-c", USE, cwd=installed)


@pytest.mark.skipif(not shutil.which("ssltoolkit"), reason="the package is not installed here")
def test_the_page_of_the_explorer_is_in_the_wheel(installed):
    pytest.importorskip("plotly", reason="needs the extra explore")
    (installed / "sounds").mkdir(exist_ok=True)
    soundfile.write(installed / "sounds/a.wav", 0.1 * np.random.default_rng(0).standard_normal(16000), 16000)
    run(
        installed / "env/bin/ssltoolkit",
        "explore",
        "--audio_dir",
        "sounds",
        "-o",
        "explorer",
        "--map",
        "pca",
        cwd=installed,
    )
    assert (installed / "explorer/assets/page.js").is_file() and (installed / "explorer/index.html").is_file()
