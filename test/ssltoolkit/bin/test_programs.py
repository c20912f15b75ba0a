"""bin/: exit statuses, one-line errors, and a fast --help."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from ssltoolkit import command_line
from ssltoolkit.bin.main import PROGRAMS, main

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def call(capsys, tmp_path, monkeypatch):
    """call('format', ...): run one program in this process; returns (status, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        capsys.readouterr()
        try:
            status = main([str(part) for part in arguments])
        except SystemExit as stop:
            status = stop.code
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return run


@pytest.mark.parametrize("name", PROGRAMS)
def test_help(call, name):
    status, out, err = call(name, "--help")
    assert status == 0 and not err
    assert f"usage: ssltoolkit {name}" in out


def test_usage_lists_every_program(call):
    status, out, _ = call("--help")
    assert status == 0 and all(f"  {name} " in out for name in PROGRAMS)
    assert call()[0] == 2
    assert call("--version")[0] == 0
    status, out, err = call("pretrian")
    assert (
        status == 2
        and err == "ssltoolkit: error: no program 'pretrian'; did you mean 'pretrain'? (ssltoolkit --help lists them)\n"
    )


@pytest.mark.parametrize("arguments", [["--help"], *([name, "--help"] for name in PROGRAMS)], ids=" ".join)
def test_help_imports_nothing_heavy(arguments):
    code = (
        "import sys\nfrom ssltoolkit.bin.main import main\n"
        f"try:\n    main({arguments!r})\nexcept SystemExit:\n    pass\n"
        "heavy = {'torch', 'matplotlib', 'numba', 'sklearn', 'scipy', 'soundfile'} & set(sys.modules)\n"
        "sys.exit(f'imports {heavy}' if heavy else 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert done.returncode == 0, done.stderr


BAD = [
    ("format", [], "--data_dir"),
    ("format", ["--data_dir", "none", "--out_dir", "o"], "none: no such data directory"),
    (
        "format",
        ["--data_dir", "d", "--out_dir", "o", "--nj", "0"],
        "--nj: expected a whole number of at least 1, got '0'",
    ),
    (
        "format",
        ["--data_dir", "d", "--out_dir", "o", "--nj", "2", "--job", "3"],
        "--job 3: must lie between 1 and --nj 2",
    ),
    (
        "format",
        ["--data_dir", "d", "--out_dir", "o", "--merge", "perhaps"],
        "--merge: expected true or false, got 'perhaps'",
    ),
    (
        "format",
        ["--data_dir", "d", "--out_dir", "o", "--max_bad", "nan"],
        "--max_bad: expected a share from 0 to 1, got 'nan'",
    ),
    ("format", ["--data_dir", "d", "--out_dir", "o", "--merge", "true"], "1 of 1 shards are not finished"),
    ("format", ["--data_dir", "d", "--out_dir", "file"], "file"),
    ("format", ["--data_di", "d", "--out_dir", "o"], "--data_di"),
    (
        "features",
        ["--config", "none.yaml", "--data_dir", "w", "--out_dir", "o"],
        "none.yaml: cannot read this configuration",
    ),
    ("features", ["--config", "tiny.yaml", "--data_dir", "d", "--out_dir", "o"], "run stage 2 to make wave archives"),
    (
        "features",
        ["--config", "tiny.yaml", "--data_dir", "w", "--out_dir", "o", "--compression", "zip"],
        "--compression",
    ),
    (
        "features",
        ["--config", "tiny.yaml", "--data_dir", "w", "--out_dir", "o", "--set", "frontend.n_mel=3"],
        "frontend.n_mel: ",
    ),
    ("pretrain", ["--config", "tiny.yaml", "--train_dir", "none", "--exp_dir", "e"], "none/wav.scp: no such file"),
    ("pretrain", ["--config", "tiny.yaml", "--train_dir", "w", "--exp_dir", "file"], "file"),
    (
        "pretrain",
        ["--config", "tiny.yaml", "--train_dir", "w", "--exp_dir", "e", "--stats", "file"],
        "file: not readable feature statistics",
    ),
    (
        "pretrain",
        ["--config", "tiny.yaml", "--train_dir", "w", "--exp_dir", "e", "--set", "training.device=gpu"],
        "training.device: 'gpu' cannot be used",
    ),
    (
        "pretrain",
        ["--config", "tiny.yaml", "--train_dir", "w", "--exp_dir", "e", "--set", "optimizer.rl=1"],
        "optimizer.rl: ",
    ),
    ("pretrain", ["--config", "file", "--train_dir", "w", "--exp_dir", "e"], "file: expected a mapping of keys"),
    ("embed", ["--model", "baseline:logmel"], "give either audio files with --output"),
    ("embed", ["--model", "baseline:logmel", "a.wav"], "need --output FILE.npz"),
    ("embed", ["--model", "baseline:logmel", "a.wav", "-o", "none/out.npz"], "none/out.npz: No such file or directory"),
    ("embed", ["--model", "baseline:logmel", "file", "-o", "out.npz"], "file: cannot be read as audio"),
    ("embed", ["--model", "none.pt", "a.wav", "-o", "out.npz"], "none.pt: no such checkpoint"),
    ("embed", ["--model", "file", "a.wav", "-o", "out.npz"], "file: not a readable checkpoint"),
    ("embed", ["--model", "random:cnn", "a.wav", "-o", "out.npz"], "no encoder 'cnn'"),
    ("embed", ["--model", "baseline:logmel", "--data_dir", "w", "--out_dir", "o", "p"], "each --data_dir an --out_dir"),
    ("embed", ["--model", "baseline:logmel", "--data_dir", "w", "--out_dir", "o", "--kind", "clip"], "--kind"),
    (
        "embed",
        ["--model", "baseline:logmel", "--data_dir", "w", "--out_dir", "o", "--device", "gpu"],
        "'gpu' cannot be used",
    ),
    ("evaluate", [], "--task is required"),
    ("evaluate", ["--task", "clips"], "--task"),
    (
        "evaluate",
        ["--task", "clip", "--embed_dir", "none", "--data_dir", "d", "--output", "o.json"],
        "no such data directory",
    ),
    ("evaluate", ["--task", "clip", "--embed_dir", "e", "--data_dir", "d", "--output", "o.txt"], "must end in .json"),
    (
        "evaluate",
        ["--task", "clip", "--embed_dir", "e", "--data_dir", "d", "--output", "o.json", "--seeds", "a"],
        "--seeds",
    ),
    ("report", ["--results", "none", "--output", "o"], "none"),
    ("report", [], "--results"),
    ("components", ["--kind", "sampel"], "did you mean 'sampler'?"),
    ("components", ["--plugins", "none.py"], "no plugin file 'none.py'"),
    ("describe", ["cnn_smal"], "did you mean 'cnn_small'?"),
    ("describe", ["smapler.clip"], "no kind of component 'smapler'"),
    ("describe", [], "name"),
    ("check-config", ["none.yaml"], "none.yaml: cannot read this configuration"),
    ("check-config", ["tiny.yaml", "--set", "training.batch_size=-1"], "training.batch_size: must lie in [2, inf)"),
    ("check-config", [], "FILE"),
    ("check-config", ["tiny.yaml", "--fingerprint", "fronten"], "'fronten' is not a section of a configuration"),
]


@pytest.mark.parametrize(
    "name, arguments, part", BAD, ids=[f"{name} {' '.join(arguments)}" for name, arguments, _ in BAD]
)
def test_bad_usage_is_status_2_and_one_line(call, tiny_yaml, format_data, make_waves, tmp_path, name, arguments, part):
    if {"d", "w"} & set(arguments):
        format_data("d", make_waves(2, seconds=0.2)).rename(tmp_path / "w")
    (tmp_path / "file").write_text("text")
    soundfile.write(tmp_path / "a.wav", np.zeros(2000), 16000)
    status, out, err = call(name, *arguments)
    lines = [line for line in err.splitlines() if line and "%|" not in line]  # without progress bars
    assert status == 2, (out, err)
    assert len(lines) == 1 and part in lines[0], err
    assert "Traceback" not in err


def test_as_a_process(program, tmp_path):
    done = program("format", "--data_dir", tmp_path / "none", "--out_dir", "out")
    assert done.returncode == 2 and done.stdout == ""
    assert (
        done.stderr
        == f"ssltoolkit format: error: {tmp_path}/none: no such data directory; prepare it first (stage 1)\n"
    )
    module = subprocess.run(
        [sys.executable, "-m", "ssltoolkit.bin.check_config"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert module.returncode == 2 and len(module.stderr.splitlines()) == 1


def test_statuses_of_faults_and_interruptions(capsys):
    def raising(error):
        def main(argv=None):
            raise error

        return main

    with pytest.raises(ZeroDivisionError):  # a bug keeps its traceback, and Python ends with status 1
        command_line.run(raising(ZeroDivisionError()))
    with pytest.raises(OSError):
        command_line.run(raising(OSError("no file is to blame")))
    assert command_line.run(raising(KeyboardInterrupt())) == 130
    assert command_line.run(raising(PermissionError(13, "Permission denied", "/x/y"))) == 2
    assert "/x/y: Permission denied" in capsys.readouterr().err


def test_the_walk_through_the_programs(call, write_data, make_waves, tiny_yaml, tmp_path):
    data = write_data("data", make_waves(6))
    assert call("check-config", tiny_yaml)[0] == 0
    assert call("format", "--data_dir", data, "--out_dir", "w", "--nj", "2")[0] == 0
    assert call("features", "--config", tiny_yaml, "--data_dir", "w", "--out_dir", "f", "--nj", "2")[0] == 0
    status, out, _ = call(
        "pretrain",
        "--config",
        tiny_yaml,
        "--train_dir",
        "w",
        "--valid_dir",
        "w",
        "--stats",
        "f/stats.npz",
        "--exp_dir",
        "e/one",
        "--set",
        "training.max_steps=2",
    )
    assert status == 0 and "strategies: clip, frame, pitch" in out
    status, out, _ = call("embed", "--model", "e/one/best.pt", data / "audio/utt00.wav", "-o", "x.npz")
    assert status == 0 and "x.npz: 1 file(s), scene 32-d, frames 16-d every 40 ms" in out
    status, _, _ = call(
        "embed", "--model", "e/one/best.pt", "--data_dir", "w", "w", "--out_dir", "s", "t", "--kind", "scene", "frame"
    )
    assert status == 0 and (tmp_path / "s/meta.json").is_file() and (tmp_path / "t/timestamps.npy").is_file()


def test_components_and_describe(call, tmp_path):
    status, out, _ = call("components")
    assert status == 0 and all(
        name in out for name in ("cnn_small", "efficientnet_b0", "info_nce", "pitch_shift", "cosine", "adamw")
    )
    status, out, _ = call("components", "--kind", "encoder", "--markdown")
    assert status == 0 and "| encoder | `cnn_small` |" in out and "sampler" not in out
    status, out, _ = call("describe", "pitch_shift")
    assert status == 0 and "sampler pitch_shift" in out and "transform pitch_shift" in out
    assert "max_shift: float  (default 4.0)" in out
    status, out, _ = call("describe", "training")
    assert status == 0 and "optimiser steps" in out and "  valid_interval: int  (default 100)" in out
    status, out, _ = call("describe", "embedding")
    assert status == 0 and "  whiten_apart: " in out
    status, out, _ = call("describe", "head.projection")
    assert (
        status == 0
        and "out_dim: int  (default 512)" in out
        and "embed_dim" not in out.split("Args:")[-1].split("\n\n")[-1]
    )


def test_check_config_goes_on_after_a_wrong_file(call, tiny_yaml, tmp_path):
    (tmp_path / "bad.yaml").write_text("a: 1\n")
    status, out, err = call("check-config", "bad.yaml", tiny_yaml, "--print")
    assert (
        status == 2 and err.startswith("bad.yaml: a: nothing reads this key") and f"{tiny_yaml}: ok, cnn_small" in out
    )
    assert "max_steps: 8" in out


def test_fingerprints_tell_which_configurations_share_features(call, tiny_yaml, tmp_path):
    (tmp_path / "longer.yaml").write_text(f"include: {tiny_yaml}\ntraining: {{max_steps: 9}}\n")
    (tmp_path / "other.yaml").write_text(f"include: {tiny_yaml}\nfrontend: {{f_max: 7000}}\n")
    status, out, _ = call("check-config", "--fingerprint", "frontend", tiny_yaml, "longer.yaml", "other.yaml")
    one, longer, other = out.split()
    assert status == 0 and one == longer != other
    (tmp_path / "bad.yaml").write_text("trainin: {}\n")
    status, _, err = call("check-config", "--fingerprint", "frontend", tiny_yaml, "bad.yaml")
    assert status == 2 and "bad.yaml: trainin: nothing reads this key" in err
