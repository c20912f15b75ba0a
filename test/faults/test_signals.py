"""Ctrl-C, SIGTERM, SIGUSR1, also at start-up: save within 10 s, end with status 75; two runs cannot share a folder."""

import json
import os
import runpy
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest
from running import log_lines, same_state

from ssltoolkit import command_line, signals
from ssltoolkit.bin import embed, evaluate, features, format
from ssltoolkit.data.archive import WaveArchive
from ssltoolkit.errors import UserError
from ssltoolkit.evaluation.store import EmbeddingStore
from ssltoolkit.stages import format as format_stage
from ssltoolkit.training.checkpoint import load_checkpoint
from ssltoolkit.training.lock import RunLock

ROOT = Path(__file__).resolve().parents[2]
EVALUATION = [
    "--task",
    "clip",
    "--embed_dir",
    "clip/embed",
    "--data_dir",
    "clip/data",
    "--quick",
    "true",
    "--seeds",
    "0",
    "--output",
]
ENDLESS = ("training.max_steps=1000000", "training.log_interval=1", "training.checkpoint_interval=1000000")


def wait_for(condition, process):
    while not condition():
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.01)


def test_a_signal_saves_and_a_second_run_is_refused_meanwhile(start, run_dir):
    process = start("exp", *ENDLESS)
    wait_for((run_dir / "exp/train_log.jsonl").is_file, process)
    second = start("exp", *ENDLESS)
    output, _ = second.communicate(timeout=60)
    assert (
        second.returncode == 2
        and f"process {process.pid} on {socket.gethostname()}" in output
        and output.count("\n") == 1
    ), output
    wait_for(lambda: log_lines(run_dir / "exp"), process)
    process.send_signal(signal.SIGUSR1)
    output, _ = process.communicate(timeout=60)  # without the signal it would run for days
    assert process.returncode == 75, output
    assert "stopped by SIGUSR1; run the same command again to continue" in output and "Traceback" not in output
    assert load_checkpoint(run_dir / "exp/last.pt")["step"] == log_lines(run_dir / "exp")[-1]["step"]
    assert not (run_dir / "exp/lock").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_at_start_up(start, number):
    process = start("exp", *ENDLESS)
    time.sleep(0.4)  # Python is running and imports torch
    process.send_signal(number)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 75 and "Traceback" not in output and "run the same command again" in output, output


def test_a_signal_amid_an_import_waits_for_its_end(tmp_path, monkeypatch):
    """An exception raised during an import could be swallowed, as by this module, and leave half a module."""
    (tmp_path / "swallows.py").write_text(
        "import os, signal, time\n"
        "try:\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "    time.sleep(0.3)\n"
        "    WHOLE = True\n"
        "except BaseException:\n"
        "    WHOLE = False\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(signals.StoppedEarly, match="SIGTERM"), signals.handling(signals.stop_early):
        import swallows

        assert swallows.WHOLE
        time.sleep(20)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGINT])
@pytest.mark.parametrize("name", ["format", "features", "embed", "evaluate"])
def test_the_other_programs_say_so_too(run_dir, monkeypatch, capsys, name, number):
    """Finished parts are kept, and the same command writes the same files as an uninterrupted run."""
    monkeypatch.chdir(run_dir)
    (run_dir / "tiny.yaml").write_text((run_dir / "tiny.yaml").read_text().replace("plugins: [hurt.py]\n", ""))
    if name == "evaluate":
        runpy.run_path(str(ROOT / "test/ssltoolkit/evaluation/embedding_corpus.py"))["clip_corpus"](run_dir / "clip")
    commands = {
        "format": (format, ["--data_dir", "train", "--out_dir"], (format_stage, "read_audio"), "wav.00001.ark"),
        "features": (
            features,
            ["--config", "tiny.yaml", "--data_dir", "train-formatted", "--out_dir"],
            (WaveArchive, "read"),
            "feats.00001.ark",
        ),
        "embed": (
            embed,
            ["--model", "baseline:logmel", "--data_dir", "train-formatted", "--out_dir"],
            (WaveArchive, "read"),
            "embeddings.npy",
        ),
        "evaluate": (evaluate, EVALUATION, (EmbeddingStore, "rows"), "r.npz"),
    }
    program, arguments, (owner, function), result = commands[name]
    call, calls = getattr(owner, function), []

    def signalled(*given, **options):
        calls.append(1)
        if len(calls) == 4:
            os.kill(os.getpid(), number)
        return call(*given, **options)

    def run(folder):
        return command_line.run(program.main, [*arguments, folder if name != "evaluate" else f"{folder}/r.json"])

    with monkeypatch.context() as patch:
        patch.setattr(owner, function, signalled)
        assert run("cut") == 75
    assert (
        f"stopped by {signal.Signals(number).name}; run the same command again to continue" in capsys.readouterr().err
    )
    assert not any((run_dir / "cut" / part).exists() for part in ("wav.scp", "feats.scp", "meta.json", "r.json"))
    assert run("cut") == run("whole") == 0
    assert (run_dir / "cut" / result).read_bytes() == (run_dir / "whole" / result).read_bytes()


def test_a_validation_that_takes_long_is_put_off(run_dir, tiny_config, monkeypatch):
    """A run stopped between two validation batches repeats the whole validation first when it continues."""
    from ssltoolkit.model import SSLModel
    from ssltoolkit.stages.pretrain import pretrain
    from ssltoolkit.training.trainer import Interrupted

    config = tiny_config("training.log_interval=1", "training.batch_size=2")
    forward, calls = SSLModel.forward, []

    def signalled(self, batch):
        calls.append(self.training)
        if not self.training and calls.count(False) == 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return forward(self, batch)

    def train(name):
        (run_dir / name).mkdir(exist_ok=True)
        pretrain(config, run_dir / name, run_dir / "train-formatted", run_dir / "valid-formatted")
        return load_checkpoint(run_dir / name / "best.pt"), log_lines(run_dir / name)

    whole = train("whole")
    with monkeypatch.context() as patch, pytest.raises(Interrupted):
        patch.setattr(SSLModel, "forward", signalled)
        train("cut")
    assert calls.count(False) == 1 and load_checkpoint(run_dir / "cut/last.pt")["validation_due"]
    cut = train("cut")
    assert same_state(whole[0]["model"], cut[0]["model"]) and whole[1] == cut[1]


def test_a_step_of_many_batches_is_given_up(run_dir, tiny_config, monkeypatch):
    """If the rest of an accumulated step would take too long, the step is dropped and repeated later."""
    from ssltoolkit.model import SSLModel
    from ssltoolkit.stages.pretrain import pretrain
    from ssltoolkit.training import trainer

    config = tiny_config("training.accumulate=3", "training.max_steps=4")
    monkeypatch.setattr(trainer, "PATIENCE_S", 0.0)
    forward, calls = SSLModel.forward, []

    def signalled(self, batch):
        calls.append(1)
        if len(calls) == 8:
            os.kill(os.getpid(), signal.SIGTERM)
        return forward(self, batch)

    def train(name):
        (run_dir / name).mkdir(exist_ok=True)
        pretrain(config, run_dir / name, run_dir / "train-formatted", run_dir / "valid-formatted")
        return load_checkpoint(run_dir / name / "last.pt")

    whole = train("whole")
    with monkeypatch.context() as patch, pytest.raises(trainer.Interrupted):
        patch.setattr(SSLModel, "forward", signalled)
        train("cut")
    assert load_checkpoint(run_dir / "cut/last.pt")["step"] == 2
    cut = train("cut")
    assert same_state(whole["model"], cut["model"]) and same_state(whole["random"], cut["random"])


def lock_file(folder, **changes):
    with_us = RunLock(folder)
    with_us.acquire()
    holder = json.loads((folder / "lock").read_text())
    with_us.release()
    (folder / "lock").write_text(json.dumps({**holder, **changes}))


def dead_pid():
    process = subprocess.Popen(["true"])
    process.wait()
    return process.pid


@pytest.mark.parametrize(
    "changes",
    [{"pid": dead_pid()}, {"pid": 1, "began": "another process had this number"}, {"host": "far", "job": "42"}],
)
def test_a_lock_left_behind_is_replaced(tmp_path, capsys, monkeypatch, changes):
    monkeypatch.setenv("SLURM_JOB_ID", "42")
    lock_file(tmp_path, **changes)
    lock = RunLock(tmp_path)
    lock.acquire()
    assert "left behind by process" in capsys.readouterr().err
    assert json.loads((tmp_path / "lock").read_text())["pid"] == os.getpid()
    lock.release()
    assert not (tmp_path / "lock").exists()


@pytest.mark.skipif(not os.path.exists("/proc/self/stat"), reason="what tells an ended process is in /proc")
def test_a_lock_of_a_process_that_ended_unasked_is_replaced(tmp_path, capsys):
    """A killed run stays in the process table until its parent waits for it; in many containers none does."""
    process = subprocess.Popen(["sleep", "60"])
    began = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[19]
    lock_file(tmp_path, pid=process.pid, began=began)
    with pytest.raises(UserError, match=f"process {process.pid} on"):
        RunLock(tmp_path).acquire()
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    lock = RunLock(tmp_path)
    lock.acquire()
    assert f"left behind by process {process.pid}" in capsys.readouterr().err
    lock.release()
    process.wait()


def test_a_lock_that_may_be_alive_is_respected(tmp_path):
    lock_file(tmp_path, host="far")
    with pytest.raises(UserError, match=f"process {os.getpid()} on far"):
        RunLock(tmp_path).acquire()
    (tmp_path / "lock").unlink()
    first = RunLock(tmp_path)
    first.acquire()
    with pytest.raises(UserError, match=f"process {os.getpid()} on {socket.gethostname()}, since 20"):
        RunLock(tmp_path).acquire()
    first.release()


@pytest.mark.parametrize("content", ["", "{", "[]", "\x00\xff", '{"pid": "x"}'])
def test_a_damaged_lock_says_nothing(tmp_path, content):
    (tmp_path / "lock").write_text(content)
    lock = RunLock(tmp_path)
    if content == '{"pid": "x"}':  # the lock names no host
        with pytest.raises(UserError, match="process x on \\(unknown host\\)"):
            lock.acquire()
        return
    lock.acquire()
    lock.release()
