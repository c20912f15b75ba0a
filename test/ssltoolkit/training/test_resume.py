"""An interrupted and resumed run ends bit for bit like an uninterrupted one."""

import json
import os
import random
import signal

import numpy as np
import pytest
import torch

from ssltoolkit.config import load_config
from ssltoolkit.data.statistics import Sums
from ssltoolkit.errors import UserError
from ssltoolkit.model import SSLModel
from ssltoolkit.stages.pretrain import pretrain
from ssltoolkit.training import checkpoint
from ssltoolkit.training.checkpoint import load_checkpoint, save_checkpoint
from ssltoolkit.training.trainer import Interrupted

SETTINGS = (
    "training.max_steps=12",
    "training.valid_interval=5",
    "training.checkpoint_interval=3",
    "training.accumulate=2",
)

KILLER = """
import os
from ssltoolkit.model import SSLModel

forward, calls = SSLModel.forward, []

def dying(self, batch):
    calls.append(1)
    if len(calls) == int(os.environ.get("KILL_AT", 0)):
        os.kill(os.getpid(), int(os.environ["KILL_WITH"]))
    return forward(self, batch)

SSLModel.forward = dying
"""


def equal(first, second):
    if isinstance(first, torch.Tensor):
        return first.dtype == second.dtype and first.equal(second)
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(equal(first[key], second[key]) for key in first)
    if isinstance(first, (list, tuple)):
        return len(first) == len(second) and all(map(equal, first, second))
    return first == second


def assert_same_end(one, other):
    states = [load_checkpoint(folder / "last.pt") for folder in (one, other)]
    for key in ("model", "optimizer", "scheduler", "random", "step", "best"):
        assert equal(states[0][key], states[1][key]), key
    best = [load_checkpoint(folder / "best.pt") for folder in (one, other)]
    assert equal(best[0]["model"], best[1]["model"]) and best[0]["step"] == best[1]["step"]
    logs = [
        [json.loads(line) for line in (folder / "train_log.jsonl").read_text().splitlines()] for folder in (one, other)
    ]
    for lines in logs:
        for line in lines:
            line.pop("clips_per_s", None)
    assert logs[0] == logs[1]


@pytest.fixture
def data(format_data, make_waves):
    return format_data("train", make_waves(14, seconds=1.1)), format_data("valid", make_waves(5, seed=1))


@pytest.fixture
def train(data, tiny_config, tmp_path):
    def call(exp, *overrides):
        folder = tmp_path / exp
        folder.mkdir(exist_ok=True)
        pretrain(tiny_config(*SETTINGS, *overrides), folder, *data)
        return folder

    return call


@pytest.fixture
def noisy(monkeypatch):
    """Training that also draws from global generators: torch's (as dropout), NumPy's and Python's (as a plugin may)."""
    forward = SSLModel.forward

    def drawn(self, batch):
        output = forward(self, batch)
        if self.training:
            output.loss = output.loss * (1 + 0.1 * torch.rand(()) + 0.1 * np.random.randn() + 0.1 * random.gauss(0, 1))
        return output

    monkeypatch.setattr(SSLModel, "forward", drawn)


def interrupt(monkeypatch, at, number):
    """Send this process a signal in the at-th forward pass of training."""
    forward, calls = SSLModel.forward, []

    def signalled(self, batch):
        if self.training:
            calls.append(1)
            if len(calls) == at:
                os.kill(os.getpid(), number)
        return forward(self, batch)

    monkeypatch.setattr(SSLModel, "forward", signalled)


@pytest.mark.parametrize("number, at", [(signal.SIGTERM, 7), (signal.SIGINT, 10), (signal.SIGUSR1, 1)])
def test_signals(train, monkeypatch, tmp_path, capsys, noisy, number, at):
    whole, before = train("whole"), signal.getsignal(number)
    with monkeypatch.context() as patch:
        interrupt(patch, at, number)
        with pytest.raises(Interrupted, match=number.name):
            train("cut")
    step = load_checkpoint(tmp_path / "cut/last.pt")["step"]
    assert step == (at + 1) // 2 and signal.getsignal(number) is before
    torch.rand(17), np.random.randn(3), random.gauss(0, 1)
    assert_same_end(whole, train("cut"))
    assert f"continuing from step {step} of 12" in capsys.readouterr().out
    assert_same_end(whole, train("cut"))  # a finished run does not change


def test_handlers_are_given_back(train):
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)]
    train("exp", "training.max_steps=1")
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)] == before


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(path.read_bytes()[:1000]),
        lambda path: path.unlink(),
        lambda path: path.write_bytes(b""),
    ],
)
def test_a_damaged_last_checkpoint_falls_back_to_the_previous_one(train, monkeypatch, tmp_path, capsys, damage):
    whole = train("whole")
    with monkeypatch.context() as patch:
        interrupt(patch, 14, signal.SIGTERM)
        with pytest.raises(Interrupted):
            train("cut")
    damage(tmp_path / "cut/last.pt")
    train("cut")
    assert "continuing from step 6 of 12" in capsys.readouterr().out
    assert_same_end(whole, tmp_path / "cut")


def test_a_killed_process_continues_to_the_same_bits(data, tiny_yaml, tmp_path, program, train):
    whole = train("whole")
    (tmp_path / "killer.py").write_text(KILLER)
    tiny_yaml.write_text("plugins: [killer.py]\n" + tiny_yaml.read_text())
    options = [part for setting in SETTINGS for part in ("--set", setting)]

    def run(exp, **environment):
        command = [
            "--config",
            tiny_yaml,
            *options,
            "--train_dir",
            data[0],
            "--valid_dir",
            data[1],
            "--exp_dir",
            tmp_path / exp,
        ]
        return program("pretrain", *command, env={"OMP_NUM_THREADS": "1", **environment})

    stopped = run("term", KILL_AT="9", KILL_WITH=str(int(signal.SIGTERM)))
    assert stopped.returncode == 75 and "stopped by SIGTERM; run the same command again to continue" in stopped.stdout
    killed = run("kill", KILL_AT="17", KILL_WITH=str(int(signal.SIGKILL)))
    assert killed.returncode == -signal.SIGKILL
    for exp in ("term", "kill"):
        assert 0 < load_checkpoint(tmp_path / exp / "last.pt")["step"] < 12
        assert_same_end(whole, train(exp))


@pytest.mark.parametrize(
    "override, part",
    [
        ("optimizer.lr=1e-4", "optimizer.lr was 0.003, is 0.0001"),
        ("encoder.width=8", "encoder.width was 4, is 8"),
        ("strategies.pitch=null", "strategies.pitch was {"),
        ("training.seed=3", "training.seed was 0, is 3"),
        ("strategies.clip.sampler.anchor=[gain]", "strategies.clip.sampler.anchor was ["),
    ],
)
def test_another_configuration_is_refused_and_nothing_is_touched(train, tmp_path, override, part):
    folder = train("exp", "training.max_steps=2")
    before = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    with pytest.raises(UserError) as caught:
        train("exp", "training.max_steps=2", override)
    assert part in str(caught.value) and "last.pt was trained with another configuration" in str(caught.value)
    assert {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()} == before
    assert load_config(folder / "config.yaml") == load_checkpoint(folder / "last.pt")["config"]


def test_what_may_change_between_a_run_and_its_continuation(train):
    folder = train("exp", "training.max_steps=2")
    train(
        "exp", "training.max_steps=2", "training.log_interval=1", "training.threads=0", "training.checkpoint_interval=7"
    )
    assert load_checkpoint(folder / "last.pt")["step"] == 2


@pytest.mark.parametrize("step", [1e308, 2.0, -1, 2**62, float("nan")])
def test_a_step_that_no_run_makes(train, tmp_path, step):
    train("exp")
    content = load_checkpoint(tmp_path / "exp/last.pt")
    save_checkpoint(tmp_path / "exp/last.pt", {**content, "step": step})
    with pytest.raises(UserError, match="does not match this model .step "):
        train("exp")


@pytest.fixture
def other_data(format_data, make_waves):
    """Folders of other data: one clip fewer, the same number of longer clips, other ids."""
    renamed = format_data("renamed", make_waves(14, seconds=1.1))
    for table in ("wav.scp", "utt2num_samples"):
        (renamed / table).write_text((renamed / table).read_text().replace("utt13 ", "utt77 "))
    return (
        format_data("fewer", make_waves(13, seconds=1.1)),
        format_data("longer", make_waves(14, seconds=1.2)),
        renamed,
    )


def statistics(folder, mean):
    Sums(np.full(16, 10 * mean), np.full(16, 10 * mean**2 + 90.0), 10).save(folder / f"{mean}.npz")
    return folder / f"{mean}.npz"


def test_other_data_are_refused_and_nothing_is_touched(
    data, other_data, tiny_config, tmp_path, format_data, make_waves
):
    exp, first = tmp_path / "exp", [*data, statistics(tmp_path, -4.0)]
    exp.mkdir()
    config = tiny_config("training.max_steps=2")
    pretrain(config, exp, *first)
    before = {path.name: path.read_bytes() for path in exp.iterdir() if path.is_file()}
    valid, colder, both = (
        other_data[0],
        statistics(tmp_path, -5.0),
        (other_data[0], data[1], statistics(tmp_path, -6.0)),
    )
    cases = [((folder, *first[1:]), "other training data (14 utterances, ") for folder in other_data]
    cases += [
        ((data[0], valid, first[2]), "other validation data (5 utterances, "),
        ((data[0], None, first[2]), "; now none)"),
    ]
    cases += [
        ((*data, colder), "other statistics (--stats); give"),
        ((*data, None), "other statistics"),
        (both, "), other statistics"),
    ]
    for given, part in cases:
        with pytest.raises(UserError) as caught:
            pretrain(tiny_config("training.max_steps=4"), exp, *given)
        assert "exp/last.pt was trained with other " in str(caught.value) and part in str(caught.value)
        assert str(caught.value).endswith(
            "; give another experiment folder (--exp_dir; in a recipe --tag), or delete this one"
        )
    assert {path.name: path.read_bytes() for path in exp.iterdir() if path.is_file()} == before
    again = format_data("again", make_waves(14, seconds=1.1)), format_data("elsewhere", make_waves(5, seed=1))
    # The same data in another folder, formatted again.
    pretrain(tiny_config("training.max_steps=4"), exp, *again, first[2])
    assert load_checkpoint(exp / "last.pt")["step"] == 4


def test_a_checkpoint_that_does_not_know_its_data_only_warns(train, tmp_path, capsys):
    content = load_checkpoint(train("exp", "training.max_steps=2") / "last.pt")
    assert content.pop("data")["training data"].startswith("14 utterances, ")
    save_checkpoint(tmp_path / "exp/last.pt", content)
    train("exp", "training.max_steps=3")
    assert capsys.readouterr().err.count("last.pt, of an earlier version, does not record its training data") == 1
    train("exp", "training.max_steps=4")
    assert "does not record" not in capsys.readouterr().err


def test_states_of_generators(train, tmp_path):
    """All states are restored, also from earlier versions; states that no generator can have are refused."""
    device = torch.device("cpu")
    np.random.randn(1), random.gauss(0, 1)
    saved = checkpoint.random_state(device)
    drawn = [
        (float(torch.rand(())), np.random.randn(2).tolist(), random.gauss(0, 1), random.random()) for _ in range(3)
    ]
    random.gauss(0, 1)
    checkpoint.restore_random_state(saved, device)
    assert [
        (float(torch.rand(())), np.random.randn(2).tolist(), random.gauss(0, 1), random.random()) for _ in range(3)
    ] == drawn
    content = load_checkpoint(train("exp", "training.max_steps=2") / "last.pt")
    before = {"torch": content["random"]["torch"]}
    save_checkpoint(tmp_path / "exp/last.pt", {**content, "random": before})
    train("exp", "training.max_steps=3")
    words, *rest = content["random"]["numpy"]
    version, python, _ = content["random"]["python"]
    wrong = [{"numpy": numpy} for numpy in ([words, 10**6, *rest[1:]], 3, [words[1:], *rest])]
    wrong += [{"python": state} for state in ([version, -python, None], [version, python])]
    for state in wrong:
        save_checkpoint(tmp_path / "exp/last.pt", {**content, "random": {**content["random"], **state}})
        with pytest.raises(UserError, match="the checkpoint does not match this model"):
            train("exp", "training.max_steps=4")
