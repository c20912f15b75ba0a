"""training/updates.py: a non-finite step changes nothing, decided on the host or, without synchronisation, on the
device.
"""

import copy
import os
import traceback
from pathlib import Path

import pytest
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from ssltoolkit.config import load_config
from ssltoolkit.data.archive import WaveArchive
from ssltoolkit.data.dataset import Prefetcher, SegmentDataset
from ssltoolkit.errors import UserError
from ssltoolkit.model import SSLModel
from ssltoolkit.stages.pretrain import build_model, pretrain
from ssltoolkit.training import updates
from ssltoolkit.training.checkpoint import load_checkpoint
from ssltoolkit.training.monitor import TrainLog
from ssltoolkit.training.trainer import Trainer

CONF = Path(__file__).resolve().parents[3] / "egs" / "TEMPLATE" / "ssl1" / "conf"
#: operations that copy a value, or a size that depends on one, to the host
WAITS = {"_local_scalar_dense", "item", "is_nonzero", "nonzero", "masked_select", "unique_dim", "_unique2", "equal"}
METHODS = {
    torch.Tensor.tolist,
    torch.Tensor.numpy,
    torch.Tensor.cpu,
    torch.Tensor.item,
    torch.Tensor.__float__,
    torch.Tensor.__bool__,
    torch.Tensor.__int__,
}
#: code that only runs for a CPU; the last entry: states of generators, which are on the host
CPU_ONLY = (
    "ssltoolkit/kernels/",
    "ssltoolkit/frontends/warp.py",
    "ssltoolkit/jit.py",
    "ssltoolkit/training/checkpoint.py",
)
#: CPU branches in functions that also run for a GPU
CPU_BRANCHES = ("warped_mel(",)


def _where():
    """Stack frames of the toolkit, innermost last."""
    return [
        frame
        for frame in traceback.extract_stack()
        if f"{os.sep}ssltoolkit{os.sep}" in frame.filename and f"{os.sep}test{os.sep}" not in frame.filename
    ]


def _counts(lines):
    return not any(part in frame.filename for frame in lines for part in CPU_ONLY) and not any(
        part in (frame.line or "") for frame in lines for part in CPU_BRANCHES
    )


class Waits(TorchDispatchMode):
    """Record operations that would synchronise with a GPU."""

    def __init__(self):
        super().__init__()
        self.found = []

    def note(self, name):
        lines = _where()
        if _counts(lines):
            self.found.append((name, [f"{frame.filename}:{frame.lineno}" for frame in lines[-2:]]))

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func.overloadpacket.__name__ in WAITS:
            self.note(func.overloadpacket.__name__)
        indices = (
            args[1] if func.overloadpacket.__name__ in ("index", "index_put", "index_put_", "_index_put_impl_") else ()
        )
        if any(isinstance(index, torch.Tensor) and index.dtype is torch.bool for index in indices):
            self.note("index by a mask")
        return func(*args, **(kwargs or {}))


class Methods(TorchFunctionMode):
    """Record what the dispatcher misses: ``tolist`` and ``numpy`` read memory directly."""

    def __init__(self, waits):
        super().__init__()
        self.waits = waits

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func in METHODS:
            self.waits.note(func.__name__)
        return func(*args, **(kwargs or {}))


def counted(function):
    with Waits() as waits, Methods(waits):
        function()
    return waits.found


@pytest.fixture
def deferred(monkeypatch):
    monkeypatch.setattr(updates, "kind_of_updates", lambda device, optimizer: updates.DeferredUpdates)


@pytest.fixture
def folders(format_data, make_waves):
    return [format_data("train", make_waves(12)), format_data("valid", make_waves(5, seed=1))]


def small(conf, *overrides):
    settings = [
        "batch_size=4",
        "device=cpu",
        "precision=fp32",
        "accumulate=1",
        "log_interval=3",
        "valid_interval=100",
        "checkpoint_interval=100",
    ]
    encoder = (
        "encoder={name: cnn_small, width: 4, pitch_channels: 4, pitch_axes: 2}"
        if conf == "default"
        else "encoder.embed_dim=8"
    )
    return load_config(CONF / f"{conf}.yaml", [encoder, *(f"training.{setting}" for setting in settings), *overrides])


def trainer_of(config, data, folder):
    model = build_model(config)
    settings = config["training"]
    return Trainer(
        model, config, folder, SegmentDataset(WaveArchive(data), model.cuts, settings["batch_size"], 15360, 16000, 0)
    )


@pytest.mark.parametrize(
    "conf, overrides",
    [
        ("paper", []), ("default", []), ("default", ["training.accumulate=2"]), ("default", ["training.accumulate=2", "training.cached_batch=true"]),
        ("default", ["training.joint=uncertainty"]),
    ],
)  # fmt: skip
def test_no_step_waits_for_the_device(folders, tmp_path, deferred, conf, overrides):
    trainer = trainer_of(small(conf, *overrides), folders[0], tmp_path)
    batches = Prefetcher(trainer.train_set, 0)
    trainer._train_step(batches)  # creates kernels and moments
    waits = []
    for _ in range(3):
        waits += counted(lambda: trainer._train_step(batches))
        trainer.step += 1
    batches.close()
    assert waits == []
    assert counted(trainer._updates.settle)  # settle waits once, which must be counted


def test_the_loop_waits_at_log_steps_only(folders, tmp_path, deferred):
    trainer, seen = trainer_of(small("default", "training.max_steps=6"), folders[0], tmp_path), []
    log = TrainLog(tmp_path)

    class Watched:
        """Progress that records the number of waits since the last update."""

        def update(self, step, text):
            seen.append((step, len(waits.found), text))
            waits.found.clear()

    batches = Prefetcher(trainer.train_set, 0)
    with Waits() as waits, Methods(waits):
        trainer._loop(batches, log, Watched())
    batches.close()
    by_step = {step: (count, text) for step, count, text in seen}
    # Waits of a log step are counted at the next update: step 4 includes those of the log of step 3.
    assert all(by_step[step][0] == 0 for step in (1, 2, 5)), seen
    assert by_step[3][0] > 0 and by_step[4][0] > 0 and by_step[1][1] == "" and by_step[5][1] == by_step[3][1] != ""


def test_the_counting_sees_the_immediate_form(folders, tmp_path):
    trainer = trainer_of(small("default"), folders[0], tmp_path)
    batches = Prefetcher(trainer.train_set, 0)
    found = counted(lambda: trainer._train_step(batches))
    batches.close()
    assert any("updates.py" in line for _, lines in found for line in lines)


def broken(monkeypatch, bad):
    """Make the loss of the training forward passes in ``bad`` NaN."""
    forward, calls = SSLModel.forward, []

    def changed(self, batch):
        output = forward(self, batch)
        if self.training:
            calls.append(1)
            output.loss = output.loss * (float("nan") if len(calls) in bad else 1.0)
            output.terms["loss"] = output.loss.detach()
        return output

    monkeypatch.setattr(SSLModel, "forward", changed)


BYOL = {
    "strategies.clip.loss={name: byol}",
    "strategies.clip.head={name: projection, out_dim: 16, hidden: 16}",
}


@pytest.mark.parametrize("optimizer", ["adam", "adamw"])
def test_deferred_is_bit_for_bit_the_immediate_form(folders, tiny_config, tmp_path, monkeypatch, capsys, optimizer):
    found = []
    for kind in (updates.Updates, updates.DeferredUpdates):
        with monkeypatch.context() as patch:
            patch.setattr(updates, "kind_of_updates", lambda device, optimizer, kind=kind: kind)
            broken(patch, (1, 4, 5))
            folder = tmp_path / kind.__name__
            folder.mkdir()
            pretrain(tiny_config("training.max_bad_losses=2", f"optimizer.name={optimizer}"), folder, *folders)
        warnings = [line for line in capsys.readouterr().err.splitlines() if "skipped" in line]
        warnings = [line.partition(" (its")[0] for line in warnings]
        found.append((load_checkpoint(folder / "last.pt"), (folder / "nonfinite_batches.txt").read_text(), warnings))
    (state, listed, said), (other, other_listed, other_said) = found
    assert (
        listed == other_listed
        and said == other_said
        and [line.split(":")[0] for line in listed.splitlines()] == ["step 1", "step 4", "step 5"]
    )
    assert state["bad_steps"] == other["bad_steps"] == {"in_a_row": 0, "total": 3}
    assert all(value.equal(other["model"][key]) for key, value in state["model"].items())
    for number, moments in state["optimizer"]["state"].items():
        assert all(value.equal(other["optimizer"]["state"][number][key]) for key, value in moments.items())


def test_too_many_bad_losses_end_the_run_at_the_next_line_of_the_log(
    folders, tiny_config, tmp_path, monkeypatch, deferred
):
    broken(monkeypatch, range(3, 100))
    with pytest.raises(UserError, match=r"^3 steps in a row without a finite loss, at step 5"):
        pretrain(tiny_config("training.max_bad_losses=2", "training.log_interval=4"), tmp_path, *folders)
    assert "step 5:" in (tmp_path / "nonfinite_batches.txt").read_text()


def test_a_target_network_does_not_follow_a_skipped_step():
    from torch import nn

    from ssltoolkit.strategy import ema_update

    fast, slow = nn.Linear(3, 2), nn.Linear(3, 2)
    kept, plain = copy.deepcopy(slow), copy.deepcopy(slow)
    ema_update(slow, fast, 0.9, torch.tensor(False))
    assert all(a.equal(b) for a, b in zip(slow.parameters(), kept.parameters()))
    ema_update(slow, fast, 0.9, torch.tensor(True))
    ema_update(plain, fast, 0.9)
    for a, b in zip(slow.parameters(), plain.parameters()):
        torch.testing.assert_close(a, b)


def test_which_optimisers_can_wait():
    weight = [torch.nn.Parameter(torch.zeros(2))]
    cuda, cpu = torch.device("cuda"), torch.device("cpu")
    fused, plain = torch.optim.AdamW(weight, fused=True), torch.optim.AdamW(weight, fused=False)
    assert updates.kind_of_updates(cuda, fused) is updates.DeferredUpdates
    assert {
        updates.kind_of_updates(cuda, plain),
        updates.kind_of_updates(cuda, torch.optim.SGD(weight)),
        updates.kind_of_updates(cpu, fused),
    } == {updates.Updates}
