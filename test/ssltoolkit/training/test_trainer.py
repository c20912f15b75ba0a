"""training/trainer.py and run.py: training converges, validation uses the training objective, errors are reported."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from ssltoolkit.config import load_config
from ssltoolkit.data.archive import WaveArchive
from ssltoolkit.data.dataset import SegmentDataset
from ssltoolkit.errors import UserError
from ssltoolkit.model import SSLModel
from ssltoolkit.stages.pretrain import build_model, pretrain
from ssltoolkit.training.checkpoint import load_checkpoint
from ssltoolkit.training.devices import check_gpus, choose_device

DEFAULT = Path(__file__).resolve().parents[3] / "egs" / "TEMPLATE" / "ssl1" / "conf" / "default.yaml"


@pytest.fixture
def train(format_data, make_waves, tiny_config, tmp_path):
    """train(exp, 'a.b=c', ...): pre-train the tiny model; returns its folder."""
    folders = [format_data("train", make_waves(12)), format_data("valid", make_waves(5, seed=1))]

    def call(exp, *overrides, valid=True):
        folder = tmp_path / exp
        folder.mkdir(exist_ok=True)
        pretrain(tiny_config(*overrides), folder, folders[0], folders[1] if valid else None)
        return folder

    call.folders = folders
    return call


def log_of(folder, split):
    lines = [json.loads(line) for line in (folder / "train_log.jsonl").read_text().splitlines()]
    return [line for line in lines if line["split"] == split]


def change_loss(monkeypatch, change):
    """Replace the loss of training forward pass n = 1, 2, ... by change(n, loss)."""
    forward, calls = SSLModel.forward, []

    def changed(self, batch):
        output = forward(self, batch)
        if self.training:
            calls.append(1)
            output.loss = change(len(calls), output.loss)
            output.terms["loss"] = output.loss.detach()
        return output

    monkeypatch.setattr(SSLModel, "forward", changed)
    return calls


def test_it_learns(train):
    folder = train("exp", "training.max_steps=60", "training.valid_interval=10", "scheduler.name=constant")
    losses = [line["loss"] for line in log_of(folder, "valid")]
    assert len(losses) == 6 and losses[-1] < 0.9 * losses[0]
    accuracy = [line["clip/accuracy"] for line in log_of(folder, "train")]
    assert np.mean(accuracy[-5:]) > np.mean(accuracy[:5])


def test_validation_is_the_weighted_objective_on_every_clip(train):
    folder = train("exp")
    lines = log_of(folder, "valid")
    assert [line["step"] for line in lines] == [4, 8]
    for line in lines:
        assert line["loss"] == pytest.approx(
            line["clip/loss"] + 0.5 * line["frame/loss"] + 0.25 * line["pitch/loss"], rel=1e-4
        )
    last = load_checkpoint(folder / "last.pt")
    model = build_model(last["config"]).eval()
    model.load_state_dict(last["model"])
    data = SegmentDataset(WaveArchive(train.folders[1]), model.cuts, 6, 15360, 16000, 0)
    with torch.no_grad():
        batches = [(model(batch).loss.item(), len(batch.utt_ids)) for batch in data.validation()]
    assert lines[-1]["loss"] == pytest.approx(sum(loss * n for loss, n in batches) / 5, rel=1e-4)
    best = load_checkpoint(folder / "best.pt")
    assert best["best"] == pytest.approx(min(line["loss"] for line in lines), rel=1e-5)
    assert best["step"] == min(lines, key=lambda line: line["loss"])["step"]


def test_the_log_has_every_term(train):
    lines = log_of(train("exp", "training.grad_clip=0.5"), "train")
    assert [line["step"] for line in lines] == [2, 4, 6, 8]
    wanted = {f"{name}/loss" for name in ("clip", "frame", "pitch")} | {
        "clip/accuracy",
        "frame/accuracy",
        "pitch/absolute_error",
    }
    wanted |= {"loss", "embedding_std", "effective_rank", "learning_rate", "clips_per_s", "grad_norm"}
    assert wanted <= set(lines[0])
    assert lines[0]["learning_rate"] == pytest.approx(3e-3) and lines[-1]["learning_rate"] < 1e-3
    assert all(np.isfinite(value) for line in lines for key, value in line.items() if key != "split")


def test_checkpoint_holds_everything(train, tiny_config):
    folder = train("exp", "training.grad_clip=0")
    state = load_checkpoint(folder / "last.pt")
    assert {"config", "model", "optimizer", "scheduler", "random", "step", "best", "versions", "commit"} <= set(state)
    assert load_config(folder / "config.yaml") == state["config"] == tiny_config("training.grad_clip=0")
    assert "strategies.clip.loss.similarity.weight" in state["model"] and state["step"] == 8
    assert {path.name for path in folder.glob("*.pt")} == {"last.pt", "previous.pt", "best.pt"}


def test_without_validation_the_last_is_the_best(train):
    folder = train("exp", valid=False)
    last, best = (load_checkpoint(folder / name) for name in ("last.pt", "best.pt"))
    assert last["step"] == best["step"] == 8
    assert all(last["model"][key].equal(best["model"][key]) for key in last["model"])


def test_same_seed_same_weights_and_the_seed_counts(train):
    states = [
        load_checkpoint(train(exp, f"training.seed={seed}", "training.max_steps=3") / "last.pt")["model"]
        for exp, seed in (("a", 1), ("b", 1), ("c", 2))
    ]
    assert all(states[0][key].equal(states[1][key]) for key in states[0])
    assert any(not states[0][key].equal(states[2][key]) for key in states[0])


def test_accumulation_reads_its_batches_in_order(train, monkeypatch):
    """Each of the two steps makes three forward passes, on the batches 0 to 5 in order."""
    read, batch = [], SegmentDataset.batch

    def recorded(self, number):
        read.append(number)
        return batch(self, number)

    monkeypatch.setattr(SegmentDataset, "batch", recorded)
    calls = change_loss(monkeypatch, lambda n, loss: loss)
    train("exp", "training.accumulate=3", "training.max_steps=2", valid=False)
    assert len(calls) == 6 and read[:6] == list(range(6))


def test_accumulation_is_the_mean_over_its_batches(train, monkeypatch):
    """Losses n * loss of the same batch, n = 1, 2, 3, have the mean gradient of a loss of factor 2."""
    batch = SegmentDataset.batch
    monkeypatch.setattr(SegmentDataset, "batch", lambda self, number: batch(self, 0))
    norms = {}
    for accumulate, factors in ((1, [2]), (3, [1, 2, 3])):
        with monkeypatch.context() as patch:
            change_loss(patch, lambda n, loss, factors=factors: factors[n - 1] * loss)
            options = ("training.max_steps=1", "training.log_interval=1", f"training.accumulate={accumulate}")
            folder = train(f"exp{accumulate}", *options, valid=False)
        line = json.loads((folder / "train_log.jsonl").read_text().splitlines()[0])
        norms[accumulate] = line["grad_norm"]
    assert norms[3] == pytest.approx(norms[1], rel=1e-3)


def test_a_loss_that_is_not_finite_is_skipped_and_its_clips_listed(train, monkeypatch, capsys):
    change_loss(monkeypatch, lambda n, loss: loss * float("nan") if n in (3, 6) else loss)
    folder = train("exp", "training.max_bad_losses=1")
    lines = (folder / "nonfinite_batches.txt").read_text().splitlines()
    assert [line.split(":")[0] for line in lines] == ["step 3", "step 6"]
    assert all(len(line.split(": ")[1].split()) == 6 and "utt" in line for line in lines)
    assert "warning: step 3 skipped" in capsys.readouterr().err
    state = load_checkpoint(folder / "last.pt")
    assert state["step"] == 8 and all(torch.isfinite(value).all() for value in state["model"].values())


def test_a_skipped_step_leaves_the_weights(train, monkeypatch):
    with monkeypatch.context() as patch:
        change_loss(patch, lambda n, loss: loss * float("inf") if n == 3 else loss)
        skipped = load_checkpoint(
            train("a", "training.max_steps=3", "scheduler={name: constant}", valid=False) / "last.pt"
        )
    two = load_checkpoint(train("b", "training.max_steps=2", "scheduler={name: constant}", valid=False) / "last.pt")
    weights = [key for key in two["model"] if key.endswith("weight") and "convs" in key]
    assert weights and all(skipped["model"][key].equal(two["model"][key]) for key in weights)


def test_too_many_bad_losses_end_the_run(train, monkeypatch, tmp_path):
    change_loss(monkeypatch, lambda n, loss: loss * float("nan") if n > 2 else loss)
    with pytest.raises(UserError, match="4 steps in a row without a finite loss, at step 6; lower optimizer.lr"):
        train("exp", "training.max_bad_losses=3", "training.max_steps=50")
    assert len((tmp_path / "exp/nonfinite_batches.txt").read_text().splitlines()) == 4


def test_collapse_is_told_once(train, capsys):
    train("exp", "training.collapse_rank=1000")
    errors = capsys.readouterr().err
    assert errors.count("warning: embeddings are collapsing at step 2: effective rank") == 1
    train("other", "training.collapse_rank=0")
    assert "collapsing" not in capsys.readouterr().err


def test_statistics_reach_the_checkpoint(format_data, make_waves, tiny_config, tmp_path):
    from ssltoolkit.data.statistics import Sums

    Sums(np.full(16, -40.0), np.full(16, 250.0), 10).save(tmp_path / "stats.npz")
    (tmp_path / "exp").mkdir()
    data = format_data("train", make_waves(6))
    pretrain(tiny_config("training.max_steps=1"), tmp_path / "exp", data, stats=tmp_path / "stats.npz")
    state = load_checkpoint(tmp_path / "exp/last.pt")["model"]
    torch.testing.assert_close(state["frontend.mean"], torch.full((16,), -4.0))
    torch.testing.assert_close(state["frontend.std"], torch.full((16,), 3.0))


def test_features_that_nothing_normalises_are_told(train, tmp_path, capsys, tiny_config):
    from ssltoolkit.data.statistics import Sums

    file = tmp_path / "stats.npz"
    Sums(np.full(16, -40.0), np.full(16, 250.0), 10).save(file)
    for exp, normalize, stats, reported in (
        ("a", "band", None, True),
        ("b", "none", None, False),
        ("c", "band", file, False),
    ):
        (tmp_path / exp).mkdir()
        pretrain(
            tiny_config("training.max_steps=1", f"frontend.normalize={normalize}"),
            tmp_path / exp,
            train.folders[0],
            stats=stats,
        )
        found = "note: without --stats (stats.npz of ssltoolkit features) the features are not normalised (frontend.normalize: band)"
        assert (found in capsys.readouterr().out) == reported


def test_fewer_clips_than_a_batch_are_told(train, capsys):
    train("exp", "training.batch_size=50", "training.max_steps=1")
    assert "note: batch size 12 instead of 50" in capsys.readouterr().out


@pytest.mark.parametrize("asked, gains, used", [("auto", True, True), ("auto", False, False), ("fp32", True, False)])
def test_precision_is_that_of_the_machine_or_the_one_asked_for(train, capsys, monkeypatch, asked, gains, used):
    from ssltoolkit import precision

    monkeypatch.setattr(precision, "gains_by_bfloat16", lambda device: gains)
    seen, forward = [], SSLModel.forward

    def watched(self, batch):
        seen.append(torch.is_autocast_enabled("cpu"))
        return forward(self, batch)

    monkeypatch.setattr(SSLModel, "forward", watched)
    train("exp", f"training.precision={asked}", "training.max_steps=1")
    assert seen and set(seen) == {used}
    assert f"; {'bf16' if used else 'fp32'} on cpu" in capsys.readouterr().out


def test_bfloat16_without_a_processor_for_it_is_refused(train, monkeypatch):
    from ssltoolkit import precision

    monkeypatch.setattr(precision, "has_bfloat16", lambda device: False)
    with pytest.raises(UserError, match="training.precision: this machine does not support bfloat16"):
        train("exp", "training.precision=bf16")


def test_a_pitch_axis_that_nothing_trains_is_told(format_data, make_waves, tmp_path, capsys):
    data = format_data("train", make_waves(6))
    small = [
        "training.max_steps=1",
        "training.batch_size=4",
        "encoder.width=4",
        "encoder.context_dim=8",
        "encoder.pitch_bins=30",
    ]
    for exp, outputs in (("ignored", "[-pitch_axis]"), ("learned", "all")):
        without = [f"strategies.{name}=null" for name in ("frame", "frame_transposed", "pitch", "pitch_contrast")]
        (tmp_path / exp).mkdir()
        pretrain(
            load_config(DEFAULT, [*small, *without, f"strategies.clip.head.outputs={outputs}"]), tmp_path / exp, data
        )
        assert ("no strategy reads the encoder's pitch_axis (60 values)" in capsys.readouterr().out) == (
            exp == "ignored"
        )


def test_archives_at_another_rate_are_refused(format_data, make_waves, tiny_config, tmp_path):
    data = format_data("slow", make_waves(4, rate=8000), sample_rate=8000)
    with pytest.raises(UserError, match="waves at 8000 Hz, the frontend expects 16000 Hz"):
        pretrain(tiny_config(), tmp_path, data)


def test_devices():
    assert choose_device("cpu").type == "cpu"
    for name in ("cuda:99", "gpu", "tpu", "meta", "hpu"):
        with pytest.raises(UserError, match=f"training.device: '{name}' cannot be used"):
            choose_device(name)


def test_more_processes_than_gpus(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    for name, processes in (("auto", 2), ("cuda", 1), ("cpu", 3)):
        check_gpus(name, processes)
    for name in ("auto", "cuda"):
        with pytest.raises(
            UserError, match=r"--ngpu 3: 2 GPU\(s\) visible \(CUDA_VISIBLE_DEVICES=3,5\); give a smaller --ngpu"
        ):
            check_gpus(name, 3)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    check_gpus("auto", 4)  # processes on CPUs
    with pytest.raises(UserError, match=r"0 GPU\(s\) visible"):
        check_gpus("cuda", 1)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU on this machine")
def test_a_gpu_trains_as_the_cpu_does(train):
    cpu = log_of(train("cpu"), "valid")
    gpu = log_of(train("gpu", "training.device=cuda"), "valid")
    assert gpu[0]["loss"] == pytest.approx(cpu[0]["loss"], rel=0.05)
