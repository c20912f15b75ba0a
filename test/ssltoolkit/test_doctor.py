"""doctor.py: reports what works, and a fix for what does not."""

import importlib.metadata
import os
import resource
import shutil
import sys

import pytest

from ssltoolkit import command_line, doctor
from ssltoolkit.bin import doctor as program
from ssltoolkit.stages.pretrain import pretrain


def reported(findings, state):
    return {finding.what: finding.fix for finding in findings if finding.state == state}


def test_this_machine_is_well_enough_for_the_tests(tmp_path, capsys):
    assert command_line.run(program.main, ["--exp_dir", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert all(line.startswith(("ok   ", "warn ")) for line in lines)
    for part in (
        "Python 3",
        "torch 2",
        "can be written",
        "GiB free",
        "text encoding",
        "sorting order",
        "open files allowed",
        "several processes: gloo",
        "training.precision auto is ",
    ):
        assert any(part in line for line in lines), part


def test_missing_and_old_packages(monkeypatch):
    versions = {"torch": "2.1.0+cpu", "numpy": "2.0"}

    def version(name):
        if name not in versions:
            raise importlib.metadata.PackageNotFoundError(name)
        return versions[name]

    monkeypatch.setattr(importlib.metadata, "version", version)
    bad = reported(doctor.environment(), doctor.BAD)
    assert (
        bad["torch 2.1.0+cpu"] == "run tools/setup.sh: 2.4 or later is needed"
        and bad["kaldiio is not installed"] == "run tools/setup.sh"
    )
    assert "numpy 2.0" not in bad and not any("torchaudio" in what for what in bad)
    well = reported(doctor.environment(), doctor.OK)
    for name, (lowest, use) in doctor.OPTIONAL.items():
        assert (
            f"{name} is not installed; optional, for {use}: {sys.executable} -m pip install '{name}>={lowest}'" in well
        )
    versions["plotly"], versions["onnx"] = "5.3", "1.18.0"
    old = reported(doctor.environment(), doctor.WARN)
    assert [what for what in old if what.startswith(("plotly", "onnx "))] == [
        "plotly 5.3, for the page of ssltoolkit explore"
    ]


def test_advice_fits_an_installation_from_a_wheel(monkeypatch, tmp_path):
    """An installed package has no tools/setup.sh."""
    monkeypatch.setattr(doctor, "SETUP", tmp_path / "tools/setup.sh")
    monkeypatch.setattr(
        doctor,
        "_version",
        lambda name: {"torch": "2.1.0", "torchaudio": ""}.get(name, "99.0") if name != "kaldiio" else "",
    )
    bad = reported(doctor.environment(), doctor.BAD)
    assert bad["kaldiio is not installed"] == f"{sys.executable} -m pip install 'kaldiio>=2.18'"
    assert bad["torch 2.1.0"].endswith("-m pip install 'torch>=2.4': 2.4 or later is needed")
    everything = [*doctor.environment(), *doctor.torch_and_gpus(), doctor.data_directory(str(tmp_path / "none"))]
    assert not any("setup.sh" in one.fix or "validate_data_dir" in one.fix for one in everything)


def test_versions_are_those_of_the_packaging():
    from pathlib import Path

    text = (Path(doctor.__file__).parents[1] / "setup.py").read_text()
    for name, lowest in [*doctor.PACKAGES.items(), *((name, lowest) for name, (lowest, _) in doctor.OPTIONAL.items())]:
        assert f'"{name}>={lowest}"' in text or f'"{name}>={lowest};' in text


def test_a_folder_that_cannot_be_written_and_small_limits(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    assert any("file cannot be written" in what for what in reported(doctor.machine(tmp_path / "file"), doctor.BAD))
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10, 9, 1))
    monkeypatch.setattr(resource, "getrlimit", lambda limit: (64, 64))
    monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")
    warned = reported(doctor.machine(tmp_path), doctor.WARN)
    assert warned[f"{tmp_path}: 0.0 GiB free"].startswith("free some space")
    assert (
        warned["64 open files allowed"] == "ulimit -n 4096" and "export LC_ALL=C" in warned["sorting order de_DE.UTF-8"]
    )


@pytest.fixture
def recipe(format_data, make_waves, tiny_config, tmp_path):
    folder = tmp_path / "egs/mine/ssl1"
    (folder / "dump/raw").mkdir(parents=True)
    (folder / "run.sh").touch()
    formatted = format_data("train", make_waves(4, seconds=0.5))
    (folder / "data").mkdir()
    shutil.copytree(tmp_path / "train", folder / "data/train")
    formatted.rename(folder / "dump/raw/train")
    for table in ("wav.scp",):
        path = folder / "dump/raw/train" / table
        path.write_text(path.read_text().replace(str(formatted), str(folder / "dump/raw/train")))
    (folder / "exp/main/tiny").mkdir(parents=True)
    pretrain(tiny_config("training.max_steps=1"), folder / "exp/main/tiny", folder / "dump/raw/train")
    return folder


def test_a_recipe(recipe, capsys):
    assert command_line.run(program.main, ["--recipe", str(recipe)]) == 0
    out = capsys.readouterr().out
    assert "2 data directories" in out and f"{recipe}/dump/raw/train: 4 utterances" in out and "last.pt: step 1" in out
    (recipe / "exp/main/tiny/last.pt").write_bytes(b"")
    (recipe / "exp/main/tiny/lock").write_text('{"pid": 999999999, "host": "%s"}' % os.uname().nodename)
    next((recipe / "dump/raw/train").glob("*.ark")).write_bytes(b"")
    assert command_line.run(program.main, ["--recipe", str(recipe)]) == 2
    out = capsys.readouterr().out
    assert "last.pt: damaged" in out and "left behind by process 999999999" in out and "run stage 2 again" in out
    assert command_line.run(program.main, ["--recipe", str(recipe / "data")]) == 2
