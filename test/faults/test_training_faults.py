"""Faults in a training step: reported, counted and skipped, or the run ends with one line."""

import errno
import json
import os
import resource
import subprocess
import sys
import threading
import time
import weakref
from pathlib import Path

import pytest
import torch
from running import log_lines

from ssltoolkit import command_line
from ssltoolkit.bin import pretrain as program
from ssltoolkit.data.archive import WaveArchive
from ssltoolkit.data.dataset import Prefetcher, SegmentDataset
from ssltoolkit.errors import DataError, UserError
from ssltoolkit.model import SSLModel
from ssltoolkit.stages.pretrain import pretrain
from ssltoolkit.training import checkpoint, faults
from ssltoolkit.training.checkpoint import load_checkpoint

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def train(format_data, make_waves, tiny_config, tmp_path):
    """train(exp, 'a.b=c', ...): pre-train the tiny model without validation; returns its folder."""
    data = format_data("train", make_waves(12))

    def call(exp, *overrides, valid=None):
        (tmp_path / exp).mkdir(exist_ok=True)
        pretrain(tiny_config("training.log_interval=1", *overrides), tmp_path / exp, data, valid)
        return tmp_path / exp

    call.data = data
    return call


def on_backward(monkeypatch, change):
    """Call change(n, parameters) before the n-th optimiser step; it may change the gradients."""
    clip, calls = torch.nn.utils.clip_grad_norm_, []

    def spoiled(parameters, limit):
        parameters = list(parameters)
        calls.append(1)
        change(len(calls), parameters)
        return clip(parameters, limit)

    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", spoiled)


@pytest.mark.parametrize("limit", [0, 5])
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_gradients_that_are_not_finite_change_nothing(train, monkeypatch, limit, bad):
    before = load_checkpoint(
        train("two", "training.max_steps=2", "scheduler={name: constant}", f"training.grad_clip={limit}") / "last.pt"
    )

    def spoil(number, parameters):
        if number == 3:
            next(p for p in parameters if p.grad is not None).grad.view(-1)[0] = bad

    on_backward(monkeypatch, spoil)
    folder = train("three", "training.max_steps=3", "scheduler={name: constant}", f"training.grad_clip={limit}")
    after = load_checkpoint(folder / "last.pt")
    assert all(after["model"][key].equal(before["model"][key]) for key in before["model"]), (
        "weights or running statistics moved"
    )
    assert after["bad_steps"] == {"in_a_row": 1, "total": 1} and log_lines(folder)[-1]["skipped_steps"] == 1
    assert (folder / "nonfinite_batches.txt").read_text().startswith("step 3: utt")


def test_skipped_steps_are_listed_once_when_a_run_is_continued(train, monkeypatch):
    def spoil(number, parameters):
        for parameter in parameters:
            if parameter.grad is not None and number in (3, 7):
                parameter.grad.fill_(float("nan"))

    settings = ("training.checkpoint_interval=4",)
    with monkeypatch.context() as patch:
        on_backward(patch, spoil)
        whole = train("whole", *settings)
    with monkeypatch.context() as patch, pytest.raises(RuntimeError, match="pulled the plug"):

        def spoil_and_stop(number, parameters):
            spoil(number, parameters)
            if number == 8:
                raise RuntimeError("pulled the plug")

        on_backward(patch, spoil_and_stop)
        train("cut", *settings)
    with monkeypatch.context() as patch:
        on_backward(patch, lambda number, parameters: spoil(number + 4, parameters))
        cut = train("cut", *settings)
    assert (whole / "nonfinite_batches.txt").read_text() == (cut / "nonfinite_batches.txt").read_text()
    assert load_checkpoint(cut / "last.pt")["bad_steps"] == {"in_a_row": 0, "total": 2}


def test_exploding_gradients_are_told_once(train, monkeypatch, capsys):
    def spoil(number, parameters):
        for parameter in parameters:
            if parameter.grad is not None and number in (25, 26):
                parameter.grad.mul_(1e6)

    on_backward(monkeypatch, spoil)
    train("exp", "training.max_steps=27")
    errors = capsys.readouterr().err
    assert errors.count("gradients are exploding at step 25: norm ") == 1 == errors.count("exploding")


def test_collapse_can_end_the_run(train, capsys):
    with pytest.raises(
        UserError, match="embeddings collapsed, reported 3 times up to step 3: effective rank .*standard deviation"
    ):
        train("exp", "training.collapse_rank=1000", "training.collapse_stop=3")
    assert capsys.readouterr().err.count("warning: embeddings are collapsing at step 1") == 1


def test_collapse_must_last(train):
    watch = faults.CollapseWatch(4.0, 2)
    well, ill = {"effective_rank": 9.0, "embedding_std": 0.1}, {"effective_rank": 2.0, "embedding_std": 0.1}
    assert [bool(watch.warning(step, scalars)) for step, scalars in enumerate((ill, well, ill, well))] == [
        True,
        False,
        True,
        False,
    ]
    assert watch.warning(5, {"effective_rank": 9.0, "embedding_std": float("nan")})
    with pytest.raises(UserError):
        watch.warning(6, ill)


@pytest.mark.parametrize(
    "limit, reported",
    [(3, "3 clips fit: set training.batch_size=3 (and training.accumulate=4"), (1, "make it smaller")],
)
@pytest.mark.parametrize(
    "message",
    [
        "[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes",
        "CUDA",
    ],
)
def test_out_of_memory_says_what_would_fit(train, monkeypatch, message, limit, reported):
    forward = SSLModel.forward

    def hungry(self, batch):
        if len(batch.utt_ids) > limit:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory") if message == "CUDA" else RuntimeError(message)
        return forward(self, batch)

    monkeypatch.setattr(SSLModel, "forward", hungry)
    with pytest.raises(UserError) as caught:
        train("exp", "training.batch_size=12")
    assert str(caught.value).startswith("out of memory with training.batch_size 12; ") and reported in str(caught.value)


def test_the_failed_pass_is_gone_before_a_smaller_one_is_tried(train, monkeypatch):
    """Out of memory in the backward pass: tensors kept by the forward pass are freed before a smaller batch."""
    kept, backward, forward = [], torch.Tensor.backward, SSLModel.forward

    def hungry_backward(self, *arguments, **keywords):
        if kept[-1][1] > 3:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return backward(self, *arguments, **keywords)

    def watched(self, batch):
        assert not any(output() is not None for output, _ in kept), "an earlier pass is still in memory"
        output = forward(self, batch)
        kept.append((weakref.ref(output), len(batch.utt_ids)))
        return output

    monkeypatch.setattr(SSLModel, "forward", watched)
    monkeypatch.setattr(torch.Tensor, "backward", hungry_backward)
    with pytest.raises(UserError, match="training.batch_size 12; 3 clips fit"):
        train("exp", "training.batch_size=12")
    assert [size for _, size in kept] == [12, 6, 3]


def out_of_memory(*arguments, **keywords):
    raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")


def test_out_of_memory_in_the_optimiser_or_a_validation(train, monkeypatch):
    with (
        monkeypatch.context() as patch,
        pytest.raises(UserError, match="out of memory with training.batch_size 6; make it smaller"),
    ):
        patch.setattr(torch.optim.AdamW, "step", out_of_memory)
        train("exp")
    assert not (train.data.parent / "exp/lock").exists()
    forward = SSLModel.forward
    monkeypatch.setattr(
        SSLModel, "forward", lambda self, batch: forward(self, batch) if self.training else out_of_memory()
    )
    with pytest.raises(UserError, match="out of memory with training.batch_size 6; make it smaller"):
        train("other", valid=train.data)


def test_out_of_memory_before_the_first_step(train, monkeypatch, tiny_yaml, capsys, tmp_path):
    for settings, reported in (
        ("encoder.width=100000000000", "out of memory: the model does not fit"),
        ("encoder.width=1" + 30 * "0", "encoder.width: 1000"),
    ):
        assert (
            command_line.run(
                program.main,
                ["--config", str(tiny_yaml), "--train_dir", str(train.data), "--exp_dir", str(tmp_path / "e")]
                + ["--set", settings],
            )
            == 2
        )
        assert reported in capsys.readouterr().err
    monkeypatch.setattr(torch.nn.Module, "to", out_of_memory)
    with pytest.raises(UserError, match="out of memory: the model on cpu does not fit"):
        train("exp")


@pytest.mark.parametrize(
    "text",
    [
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
    ],
)
def test_libraries_of_a_gpu_that_get_no_memory(text):
    assert faults.out_of_memory(RuntimeError(text)) and not faults.out_of_memory(
        RuntimeError("CUDA error: device-side assert triggered")
    )


def test_weights_that_overflow_are_a_bad_loss(train, capsys):
    """Non-finite embeddings have no rank; their steps are skipped, counted and end the run like other bad losses."""
    with pytest.raises(UserError, match="3 steps in a row without a finite loss, at step 4; lower optimizer.lr"):
        train(
            "exp",
            "optimizer.lr=1e30",
            "scheduler={name: constant}",
            "training.max_bad_losses=2",
            "training.max_steps=20",
        )
    assert "embeddings are collapsing at step 2: effective rank nan" in capsys.readouterr().err


def test_a_killed_rewriting_of_the_list_loses_nothing(tmp_path, monkeypatch):
    (tmp_path / "nonfinite_batches.txt").write_text("step 3: a b\nstep 9: c d\n")
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Path, "replace", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        faults.BadSteps(tmp_path, 5).resume(4, {}, True)
    assert (tmp_path / "nonfinite_batches.txt").read_text() == "step 3: a b\nstep 9: c d\n"
    faults.BadSteps(tmp_path, 5).resume(4, {}, True)
    assert (tmp_path / "nonfinite_batches.txt").read_text() == "step 3: a b\n"


def test_random_state_of_a_gpu_goes_to_the_gpu_that_continues(monkeypatch):
    """Each process of a run has its own GPU and draws the same random numbers as the main process."""
    generators = {torch.device("cuda", number): torch.full((2,), float(number)) for number in range(3)}
    monkeypatch.setattr(torch.cuda, "get_rng_state", lambda device: generators[device].clone())
    monkeypatch.setattr(torch.cuda, "set_rng_state", lambda state, device: generators.__setitem__(device, state))
    saved = checkpoint.random_state(torch.device("cuda", 1))
    generators[torch.device("cuda", 1)] += 7
    for number in (1, 2):
        checkpoint.restore_random_state(saved, torch.device("cuda", number))
    assert [float(state[0]) for state in generators.values()] == [0.0, 1.0, 1.0]
    assert "cuda" not in checkpoint.random_state(torch.device("cpu"))
    checkpoint.restore_random_state(saved, torch.device("cpu"))  # a GPU's state is ignored on a CPU


def test_other_errors_stay_what_they_are(train, monkeypatch):
    monkeypatch.setattr(SSLModel, "forward", lambda self, batch: (_ for _ in ()).throw(RuntimeError("a bug")))
    with pytest.raises(RuntimeError, match="a bug"):
        train("exp")


@pytest.fixture
def dataset(train):
    from ssltoolkit.data.segments import Cut

    return SegmentDataset(WaveArchive(train.data), [Cut("anchor")], 4, 8000, 16000, 0)


def test_a_loader_that_stalls_names_the_utterance(train, monkeypatch):
    read, release = WaveArchive.read, threading.Event()

    def stalling(self, index, start=0, length=-1):
        if self.utt_ids[index] == "utt07":
            release.wait(30)
        return read(self, index, start, length)

    monkeypatch.setattr(WaveArchive, "read", stalling)
    with pytest.raises(DataError, match="no batch within 0.5 s: the storage does not answer at utterance 'utt07'"):
        try:
            train("exp", "training.loader_timeout=0.5")
        finally:
            release.set()


def test_a_loader_that_dies_is_noticed(dataset, monkeypatch):
    monkeypatch.setattr(Prefetcher, "_work", lambda self, dataset, number: dataset.batch(number) and None)
    reader = Prefetcher(dataset, 0)
    began = time.monotonic()
    with pytest.raises(DataError, match="the reader of batches died at utterance 'utt"):
        reader.next(timeout=60)
    assert time.monotonic() - began < 30
    reader.close()


def test_an_archive_cut_off_while_training(train, tmp_path, capsys, tiny_yaml):
    (ark,) = Path(train.data).glob("wav.*.ark")
    ark.write_bytes(ark.read_bytes()[:-9000])
    command = [
        "--config",
        str(tiny_yaml),
        "--train_dir",
        str(train.data),
        "--exp_dir",
        str(tmp_path / "exp"),
        "--set",
        "training.batch_size=12",
    ]
    assert command_line.run(program.main, command) == 2
    error = capsys.readouterr().err
    assert "error: utt11 (" in error and "truncated, run stage 2 again" in error
    assert not (tmp_path / "exp/lock").exists()


def test_full_disk_keeps_the_earlier_checkpoint(train, monkeypatch, tmp_path):
    train("exp", "training.max_steps=2")
    before = {path.name: path.read_bytes() for path in (tmp_path / "exp").glob("*.pt")}
    fsync = os.fsync

    def full(file):
        if os.readlink(f"/proc/self/fd/{file}").endswith(".pt.tmp"):
            raise OSError(errno.ENOSPC, "No space left on device")
        fsync(file)

    monkeypatch.setattr(checkpoint.os, "fsync", full)
    with pytest.raises(
        UserError,
        match="cannot write the checkpoint: .*No space left on device; free some space, then run the same command "
        "again",
    ):
        train("exp", "training.max_steps=4")
    assert checkpoint.resume_checkpoint(tmp_path / "exp")["step"] == 2 and not list((tmp_path / "exp").glob("*.tmp"))
    assert before["last.pt"] in [path.read_bytes() for path in (tmp_path / "exp").glob("*.pt")]
    monkeypatch.undo()
    assert load_checkpoint(train("exp", "training.max_steps=4") / "last.pt")["step"] == 4


def test_a_disk_that_takes_no_more_bytes(train, tmp_path, tiny_yaml):
    """RLIMIT_FSIZE simulates a full disk: files are limited to 60 kB, a checkpoint has 100 kB."""
    limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))  # noqa: E731
    command = [
        sys.executable,
        "-m",
        "ssltoolkit.bin.pretrain",
        "--config",
        tiny_yaml,
        "--train_dir",
        train.data,
        "--exp_dir",
        tmp_path / "exp",
    ]
    done = subprocess.run(
        [str(part) for part in command],
        preexec_fn=limit,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        timeout=120,
    )
    assert done.returncode == 2 and "cannot write the checkpoint" in done.stderr and "Traceback" not in done.stderr, (
        done.stderr
    )
    assert not list((tmp_path / "exp").glob("*.pt*"))
    assert json.loads((tmp_path / "exp/train_log.jsonl").read_text().splitlines()[0])["step"] == 2
