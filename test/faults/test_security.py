"""Nothing in a file, a file name or an option value is executed, and nothing is written to a path it gives."""

import os
import pickle
import shutil
import subprocess
import zipfile
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from ssltoolkit import command_line
from ssltoolkit.bin import check_config, embed, format, pretrain
from ssltoolkit.data.archive import WaveArchive
from ssltoolkit.data.datadir import DataDir
from ssltoolkit.data.scan import write_pool
from ssltoolkit.training.checkpoint import load_checkpoint

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def nothing_is_executed(tmp_path, monkeypatch):
    """Assert that no hostile input created a file named ``executed`` in the working directory or below."""
    monkeypatch.chdir(tmp_path)
    yield
    assert not [path for path in tmp_path.rglob("*executed*") if path.name == "executed"]
    assert not Path("/tmp/executed").exists()


class Hostile:
    """Unpickling it runs a command."""

    def __reduce__(self):
        return os.system, ("touch executed",)


def as_torch(content, path):
    torch.save(content, path)


def as_pickle(content, path):
    path.write_bytes(pickle.dumps(content))


def as_old_torch(content, path):
    torch.save(content, path, _use_new_zipfile_serialization=False)


def as_swapped_zip(content, path):
    """Write a good checkpoint and replace its pickle."""
    torch.save({"config": {}, "model": {}}, path)
    with zipfile.ZipFile(path) as source:
        parts = {name: source.read(name) for name in source.namelist()}
    with zipfile.ZipFile(path, "w") as target:
        for name, data in parts.items():
            target.writestr(name, pickle.dumps(content, 2) if name.endswith("data.pkl") else data)


@pytest.mark.parametrize("write", [as_torch, as_pickle, as_old_torch, as_swapped_zip])
def test_a_hostile_checkpoint(format_data, make_waves, tiny_yaml, tmp_path, capsys, write):
    data = format_data("d", make_waves(4, seconds=0.5))
    (tmp_path / "exp").mkdir()
    path = tmp_path / "exp/last.pt"
    write({"config": {}, "model": {"x": Hostile()}, "step": Hostile()}, path)
    for program, arguments in (
        (embed, ["--model", str(path), "--data_dir", str(data), "--out_dir", "out"]),
        (embed, ["--model", f"random:{path}", "--data_dir", str(data), "--out_dir", "out"]),
        (embed, ["--model", f"released:audiontt:{path}", "--data_dir", str(data), "--out_dir", "out"]),
        (pretrain, ["--config", str(tiny_yaml), "--train_dir", str(data), "--exp_dir", "exp"]),
    ):
        assert command_line.run(program.main, arguments) == 2
        error = capsys.readouterr().err
        assert "Traceback" not in error and "weights_only" not in error, error
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "text",
    [
        "!!python/object/apply:os.system ['touch executed']",
        "training: !!python/object/apply:subprocess.check_output [['touch', 'executed']]",
        "training: !!python/object/new:os.system ['touch executed']",
        "training: {seed: !!python/name:os.system }",
        "plugins: ['$(touch executed).py', '`touch executed`', '; touch executed']",
        "include: '| touch executed'",
        "include: ['../../../../../../etc/passwd']",
    ],
)
def test_a_hostile_configuration(tmp_path, capsys, text):
    (tmp_path / "a.yaml").write_text(text + "\n")
    assert command_line.run(check_config.main, ["a.yaml"]) == 2
    assert "Traceback" not in capsys.readouterr().err
    assert (
        command_line.run(
            check_config.main, [str(ROOT / "egs/TEMPLATE/ssl1/conf/default.yaml"), "--set", f"training.seed={text}"]
        )
        == 2
    )


def test_commands_of_a_wave_table_run_only_when_they_are_trusted(write_data, make_waves, tmp_path, capsys):
    data = write_data("d", make_waves(3, seconds=0.5))
    text = (data / "wav.scp").read_text()
    (data / "wav.scp").write_text(f"{text}utt97 touch executed |\nutt98 cat {data}/audio/utt00.wav; touch executed |\n")
    assert command_line.run(format.main, ["--data_dir", str(data), "--out_dir", "out", "--max_bad", "0.5"]) == 0
    bad = (tmp_path / "out/bad_utts.txt").read_text()
    assert bad.count("wav.scp with --allow_pipes true") == 2
    # With --allow_pipes the commands run: one returns audio, one returns none, one fails; faults are listed.
    (data / "wav.scp").write_text(
        f"{text}utt97 true |\nutt98 cat '{data}/audio/utt00.wav' |\nutt99 echo no such thing >&2; exit 3 |\n"
    )
    assert (
        command_line.run(
            format.main, ["--data_dir", str(data), "--out_dir", "out", "--max_bad", "0.5", "--allow_pipes", "true"]
        )
        == 0
    )
    archive, bad = WaveArchive(tmp_path / "out"), (tmp_path / "out/bad_utts.txt").read_text().splitlines()
    assert archive.utt_ids == ["utt00", "utt01", "utt02", "utt98"] and (archive.read(0) == archive.read(3)).all()
    assert "utt97\toutput of 'true ': cannot be read as audio" in bad[0] and bad[1].endswith(
        "failed with status 3: no such thing"
    )
    # Without --allow_pipes their audio is removed: the finished shard was made with other options.
    assert command_line.run(format.main, ["--data_dir", str(data), "--out_dir", "out", "--max_bad", "0.6"]) == 0
    assert WaveArchive(tmp_path / "out").utt_ids == ["utt00", "utt01", "utt02"]


def test_a_checkpoint_does_not_choose_what_code_runs(format_data, make_waves, tiny_yaml, tmp_path, capsys):
    """Plugins are code: one named in a checkpoint is loaded only if the user's configuration names it too."""
    data = format_data("d", make_waves(4, seconds=0.5))
    command = [
        "--config",
        str(tiny_yaml),
        "--train_dir",
        str(data),
        "--exp_dir",
        "exp",
        "--set",
        "training.max_steps=1",
    ]
    assert command_line.run(pretrain.main, command) == 0
    content = load_checkpoint(tmp_path / "exp/best.pt")
    (tmp_path / "evil.py").write_text("from pathlib import Path\nPath('executed').touch()\n")
    content["config"]["plugins"] = [str(tmp_path / "evil.py")]
    torch.save(content, tmp_path / "evil.pt")
    for name in ("evil.pt", "random:evil.pt"):
        assert command_line.run(embed.main, ["--model", name, "--data_dir", str(data), "--out_dir", f"out-{name}"]) == 0
    content["config"]["encoder"]["name"] = "evil_encoder"
    torch.save(content, tmp_path / "evil.pt")
    capsys.readouterr()
    assert command_line.run(embed.main, ["--model", "evil.pt", "--data_dir", str(data), "--out_dir", "other"]) == 2
    assert "pass it with --config" in capsys.readouterr().err
    shutil.copy(tmp_path / "evil.pt", tmp_path / "exp/last.pt")
    (tmp_path / "exp/last.pt.sha256").unlink()
    assert command_line.run(pretrain.main, command) == 2


NAMES = [
    "$(touch executed).wav", "`touch executed`.wav", "; touch executed;.wav", "a' && touch executed '.wav", 'a" ; touch executed ".wav', "--help.wav", "-rf.wav",
    "| touch executed |.wav", "a\tb.wav", "x\nutt9 touch executed |.wav", "carriage\r.wav", "ünïcödé 音.wav", "*.wav", "%s%n.wav", "{}.wav",
]  # fmt: skip


def test_hostile_file_names(tmp_path, capsys):
    folder = tmp_path / "audio"
    folder.mkdir()
    noise = 0.1 * np.random.default_rng(0).standard_normal(8000)
    for name in NAMES:
        soundfile.write(folder / name, noise, 16000)
    shutil.copy(folder / NAMES[0], os.fsencode(folder) + b"/not\xff\xfeutf8.wav")
    counts = write_pool(folder, tmp_path / "data")
    assert counts["pretrain"] + counts["pretrain_valid"] == len(NAMES) - 2
    assert "warning: 3 audio file(s) left out: name with line breaks or not in UTF-8, first " in capsys.readouterr().err
    for name in ("pretrain", "pretrain_valid"):
        data = DataDir(tmp_path / "data" / name)
        assert all(Path(path).parent == folder for path in data.wav().values())
        assert (
            command_line.run(format.main, ["--data_dir", str(data.path), "--out_dir", f"out/{name}", "--max_bad", "0"])
            == 0
        )
        assert WaveArchive(tmp_path / "out" / name).utt_ids == data.utt_ids


VALUES = [
    "$(touch executed)",
    "`touch executed`",
    "x; touch executed",
    "a'b; touch executed '",
    'a"; touch executed "',
    "a\ntouch executed",
    "${IFS}touch",
    "a && touch executed",
    "> executed",
]


@pytest.fixture
def recipe(tmp_path):
    """A copy of the template's recipe with a set-up that does nothing; recipe(option, ...) runs its ssl.sh."""
    shutil.copytree(ROOT / "egs/TEMPLATE/ssl1", tmp_path / "egs/TEMPLATE/ssl1")
    shutil.copytree(ROOT / "utils", tmp_path / "utils")
    (tmp_path / "tools").mkdir()
    (tmp_path / "tools/setup.sh").write_text("#!/bin/sh\n")
    (tmp_path / "tools/setup.sh").chmod(0o755)
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "ssltoolkit").write_text('#!/bin/bash\nprintf "%s\\0" "$@" "" >>"$RECORD"\n')
    (programs / "ssltoolkit").chmod(0o755)
    folder = tmp_path / "egs/TEMPLATE/ssl1"
    (folder / "local").mkdir()
    (folder / "local/data.sh").write_text('#!/bin/bash\nprintf "%s\\0" data.sh "$@" "" >>"$RECORD"\n')
    (folder / "local/data.sh").chmod(0o755)

    def call(*options):
        record = tmp_path / "record"
        record.unlink(missing_ok=True)
        environment = {
            **os.environ,
            "PATH": f"{programs}:{os.environ['PATH']}",
            "RECORD": str(record),
            "MAIN_ROOT": str(tmp_path),
        }
        done = subprocess.run(
            ["bash", "ssl.sh", *options], cwd=folder, env=environment, capture_output=True, text=True, timeout=60
        )
        calls = record.read_bytes().decode().split("\0\0") if record.is_file() else []
        return done, [call.split("\0") for call in calls if call]

    return call


@pytest.mark.parametrize("value", VALUES)
def test_option_values_are_data(recipe, value):
    done, calls = recipe(
        "--stage", "2", "--stop_stage", "2", "--nj", "1", "--train_set", value, "--valid_set", "", "--max_bad", value
    )
    assert done.returncode == 0, done.stderr
    formatted, merged = calls
    assert formatted[:3] == ["format", "--data_dir", f"data/{value}"] and f"dump/raw/{value}" in formatted
    assert merged[merged.index("--max_bad") + 1] == value
    done, calls = recipe(
        "--stage", "2", "--dry_run", "true", "--tag", value, "--train_set", value, "--compression", value
    )
    assert done.returncode == 0 and not calls, done.stderr


@pytest.mark.parametrize("value", VALUES)
def test_option_values_that_are_lists_of_words(recipe, value):
    words = value.split()
    done, calls = recipe("--stage", "1", "--stop_stage", "1", "--local_data_opts", value)
    if "\n" not in value:
        assert done.returncode == 0 and calls == [["data.sh", *words]], done.stderr
    for option in ("stage", "nj", "ngpu"):
        done, calls = recipe(f"--{option}", value)
        assert done.returncode == 2 and not calls


def test_processes_and_pipes_reach_the_programs(recipe, tmp_path):
    stats = tmp_path / "egs/TEMPLATE/ssl1/dump/fbank/pretrain/stats.npz"
    stats.parent.mkdir(parents=True)
    stats.write_bytes(b"")
    done, calls = recipe("--stage", "4", "--stop_stage", "4", "--ngpu", "2", "--num_nodes", "3")
    assert done.returncode == 0, done.stderr
    (call,) = calls
    assert (
        call[0] == "pretrain" and call[call.index("--ngpu") + 1] == "2" and call[call.index("--num_nodes") + 1] == "3"
    )
    done, calls = recipe("--stage", "4", "--stop_stage", "4")
    assert done.returncode == 0 and "--ngpu" not in calls[0]
    done, calls = recipe("--stage", "2", "--stop_stage", "2", "--nj", "1", "--valid_set", "", "--allow_pipes", "true")
    assert calls[0][calls[0].index("--allow_pipes") + 1] == "true"


def test_a_checkpoint_is_whole_after_all_this(format_data, make_waves, tiny_yaml, tmp_path):
    data = format_data("d", make_waves(6, seconds=0.5))
    assert (
        command_line.run(
            pretrain.main,
            [
                "--config",
                str(tiny_yaml),
                "--train_dir",
                str(data),
                "--exp_dir",
                "$(touch executed)",
                "--set",
                "training.max_steps=1",
            ],
        )
        == 0
    )
    assert load_checkpoint(tmp_path / "$(touch executed)/last.pt")["step"] == 1
