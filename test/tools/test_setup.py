"""tools/setup.sh and its helpers: the parts that install nothing."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

FAKE_TORCH = """
class _Version: cuda = {cuda!r}; hip = None
version = _Version()
class _Wave:
    def unsqueeze(self, axis): return self
def linspace(*bounds): return _Wave()
class _True:
    def all(self): return True
def isfinite(values): return _True()
"""
FAKE_TORCHAUDIO = """
from pathlib import Path
import torch
__version__ = "2.11.0"
if torch.version.cuda is None and list((Path(__file__).parent / "lib").glob("*.so")):
    raise OSError("Could not load this library")
class _Mel:
    shape = {shape!r}
class transforms:
    class MelSpectrogram:
        def __init__(self, **parameters): pass
        def __call__(self, wave): return _Mel()
"""


@pytest.fixture
def setup(tmp_path):
    """setup(...): run tools/setup.sh in a copy of the repository's set-up files."""
    (tmp_path / "repo/tools").mkdir(parents=True)
    shutil.copy(ROOT / "setup.py", tmp_path / "repo")
    for path in (ROOT / "tools").iterdir():
        if path.is_file() and not path.name.startswith(".") and path.suffix != ".log":
            shutil.copy(path, tmp_path / "repo/tools")

    def call(*arguments, **environment):
        drop = ("TORCH_VERSION", "TORCHAUDIO_VERSION", "PYTHON", "SSLTOOLKIT_VENV", "VIRTUAL_ENV")
        clean = {k: v for k, v in os.environ.items() if k not in drop}
        return subprocess.run(
            ["bash", "tools/setup.sh", *arguments], cwd=tmp_path / "repo",
            env={**clean, **environment}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    call.root = tmp_path / "repo"
    return call


def one_line(done):
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1, done.stderr
    return done.stderr


def test_help(setup):
    done = setup("--help")
    assert done.returncode == 0
    assert "TORCH_VERSION" in done.stdout


def test_bad_usage(setup):
    assert "unknown argument '--sytem'" in one_line(setup("--sytem"))
    assert "--venv needs a directory" in one_line(setup("--venv"))


def test_missing_python(setup, tmp_path):
    assert "PYTHON=/none: no such program" in one_line(setup(PYTHON="/none"))
    old = tmp_path / "python3"
    old.write_text("#!/bin/sh\necho is Python 3.6\n")
    old.chmod(0o755)
    assert "is Python 3.6" in one_line(setup(PYTHON=str(old)))


def test_a_folder_that_is_no_environment_is_left_alone(setup):
    (setup.root / "mine").mkdir()
    (setup.root / "mine/file").write_text("x")
    assert "is no virtual environment" in one_line(setup("--venv", "mine"))
    assert (setup.root / "mine/file").read_text() == "x"


@pytest.fixture
def finished(setup):
    """The environment as tools/setup.sh leaves it: this test's Python and a stamp."""
    venv = setup.root / "tools/venv"
    (venv / "bin").mkdir(parents=True)
    python = venv / "bin/python"
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    stamp = venv / ".ssltoolkit-setup"
    stamp.write_text(json.dumps({"key": "", "TORCH_VERSION": "2.9.1"}))
    environment_tool(setup.root, "finish", stamp)
    setup.stamp = stamp
    return setup


def environment_tool(root, *arguments, **environment):
    return subprocess.run(
        [sys.executable, str(root / "tools/environment.py"), *map(str, arguments)],
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_second_run_does_nothing(finished):
    done = finished()
    assert (done.returncode, done.stderr) == (0, "")
    assert "finished and up to date" in done.stdout
    assert not (finished.root / "tools/setup.log").exists()
    assert finished("--quiet").stdout == ""


def test_what_makes_an_environment_stale(finished):
    def current(**environment):
        return environment_tool(finished.root, "check", finished.stamp, **environment).returncode == 0

    assert current() and current(TORCH_VERSION="2.9.1")
    assert not current(TORCH_VERSION="2.8.0")
    constraints = finished.root / "tools/constraints.txt"
    constraints.write_text(constraints.read_text() + "# changed\n")
    assert not current()


def test_versions_asked_for_hold_until_others_succeed(finished):
    def begin(**environment):
        return environment_tool(finished.root, "begin", finished.stamp, **environment)

    assert begin().stdout.split() == ["2.9.1"]
    assert begin(TORCH_VERSION="9.9.9", TORCHAUDIO_VERSION="2.10.0").stdout.split() == [
        "9.9.9",
        "2.10.0",
    ]
    assert begin().stdout.split() == ["2.9.1"]
    bad = begin(TORCH_VERSION="new")
    assert bad.returncode != 0
    assert "TORCH_VERSION 'new' is not a version" in bad.stderr


@pytest.mark.parametrize(
    "torch, torchaudio",
    [
        ("2.13.0+cpu", "2.11.0"),
        ("2.9.1", "2.9.1"),
        ("2.6.0a0+git12", "2.6.0"),
        ("2.11.0", "2.11.0"),
    ],
)
def test_the_torchaudio_of_a_torch(torch, torchaudio):
    assert environment_tool(ROOT, "torchaudio", torch).stdout.strip() == torchaudio


def test_half_installed_packages_are_removed(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    import environment

    for name, record in (("good-1.dist-info", True), ("half-1.dist-info", False), ("~ld", False)):
        (tmp_path / name).mkdir()
        if record:
            (tmp_path / name / "RECORD").write_text("")
    environment.remove_half_installed(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["good-1.dist-info"]


@pytest.fixture
def packages(tmp_path):
    """Write stand-ins for torch and torchaudio and run fix_torchaudio.py on them."""
    lib = tmp_path / "torchaudio/lib"

    def call(cuda=None, shape=(1, 64, 101), torchaudio=FAKE_TORCHAUDIO):
        (tmp_path / "torch").mkdir(exist_ok=True)
        (tmp_path / "torch/__init__.py").write_text(FAKE_TORCH.format(cuda=cuda))
        lib.mkdir(parents=True, exist_ok=True)
        (tmp_path / "torchaudio/__init__.py").write_text(torchaudio.format(shape=shape))
        environment = {**os.environ, "PYTHONPATH": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"}
        return subprocess.run(
            [sys.executable, str(ROOT / "tools/fix_torchaudio.py")], env=environment,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    lib.mkdir(parents=True)
    (lib / "libtorchaudio.so").write_text("")
    call.lib = lib
    return call


def extensions(folder):
    return sorted(path.name for path in folder.glob("*.so"))


def test_extensions_are_moved_aside_beside_cpu_torch_and_back(packages):
    done = packages()
    assert done.returncode == 0, done.stderr
    assert "torch is CPU-only: moved torchaudio's CUDA-linked libtorchaudio.so" in done.stdout
    assert "mel spectrogram (1, 64, 101), finite" in done.stdout
    assert (extensions(packages.lib), extensions(packages.lib / "cuda_only")) == (
        [],
        ["libtorchaudio.so"],
    )
    assert "moved" not in packages().stdout
    assert "moved torchaudio's extension modules back" in packages(cuda="13.0").stdout
    assert extensions(packages.lib) == ["libtorchaudio.so"]


def test_a_cuda_torch_keeps_its_extensions(packages):
    assert packages(cuda="13.0").returncode == 0
    assert extensions(packages.lib) == ["libtorchaudio.so"]


def test_another_import_failure_is_told_and_undone(packages):
    done = packages(torchaudio="raise OSError('something else')\n")
    assert "still fails (OSError: something else)" in one_line(done)
    assert extensions(packages.lib) == ["libtorchaudio.so"]


def test_the_proof_looks_at_the_spectrogram(packages):
    assert "does not compute" in one_line(packages(shape=(1, 64, 7)))
