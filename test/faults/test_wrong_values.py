"""Wrong values for every key of the default configuration: accepted, or refused in one line that names the key.

300 cases; with ``SSLTOOLKIT_LONG=1`` all of them, and two steps of training with every kind of accepted value.
"""

import copy
import re
from pathlib import Path

import numpy as np
import pytest
from running import LONG

from ssltoolkit import command_line
from ssltoolkit.bin import check_config, pretrain
from ssltoolkit.config import dump_config, load_config

DEFAULT = Path(__file__).resolve().parents[2] / "egs/TEMPLATE/ssl1/conf/default.yaml"
WRONG = (
    "text", "", ["a", 1], [], -1, 0, 1e300, 2**40, 10**30, -(10**30), None, float("nan"), float("inf"), -1e-9, True, {}, {"name": 5}, {"x": 1}, "$(touch executed)",
    {"name": "gain"}, [{"name": "cosine"}],
)  # fmt: skip
#: keys whose valid values can make a training too long for a test
LENGTHS = ("max_steps", "accumulate", "hop_length")


def paths(config, path=()):
    """Yield the path (keys and list indices) of every entry of a configuration."""
    for key, value in config.items() if isinstance(config, dict) else enumerate(config):
        yield (*path, key)
        if isinstance(value, (dict, list)):
            yield from paths(value, (*path, key))


def with_value(config, path, value):
    config = copy.deepcopy(config)
    place = config
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return config


@pytest.fixture
def check(tmp_path, monkeypatch, capsys):
    """check(config): status and error output of check-config."""
    monkeypatch.chdir(tmp_path)

    def call(config):
        (tmp_path / "wrong.yaml").write_text(dump_config(config))
        status = command_line.run(check_config.main, ["wrong.yaml"])
        return status, capsys.readouterr().err

    yield call
    assert not (tmp_path / "executed").exists()


def refused_well(path, error):
    """Whether the error is one line that names the key, or its component if the value contradicts other keys.
    Out-of-memory errors name no key.
    """
    keys = [part for part in path if isinstance(part, str)]
    named = ".".join(keys) in error or (len(keys) > 1 and ".".join(keys[:-1]) in error)
    return error.count("\n") == 1 and (named or "out of memory: the model does not fit" in error)


def test_every_key_of_the_default(check):
    config = load_config(DEFAULT)
    cases = [(path, value) for path in paths(config) for value in WRONG]
    rng = np.random.default_rng(7)
    chosen = range(len(cases)) if LONG else rng.choice(len(cases), 300, replace=False)
    for number in chosen:
        path, value = cases[number]
        status, error = check(with_value(config, path, value))
        assert status == 0 or (status == 2 and refused_well(path, error)), (path, value, error)
    print(f"{len(chosen)} of {len(cases)} wrong values")


@pytest.mark.parametrize(
    "setting, reported",
    [
        ("optimizer.lr=-1", "optimizer.lr: must lie in (0, inf), got -1"),
        ("optimizer.lr=.inf", "optimizer.lr: must lie in (0, inf), got inf"),
        ("scheduler.warmup_steps=-1", "scheduler.warmup_steps: must lie in [0, inf), got -1"),
        ("training.seed=1" + "0" * 30, "training.seed: 1" + "0" * 30 + " does not fit into a 64-bit integer"),
        ("training.threads=1000000", "training.threads: must lie in [0, 4096], got 1000000"),
        ("training.unit_seconds=1e300", "training.unit_seconds: must lie in [0, 1e+06], got 1e+300"),
        ("training.batch_size=1", "training.batch_size: must lie in [2, inf), got 1"),
        ("strategies.clip.loss.similarity=[]", "strategies.clip.loss.similarity.name: missing; expected"),
        ("strategies.clip.loss.similarity=[{name: cosine}]", "strategies.clip.loss.similarity.name: missing; expected"),
        (
            "strategies.clip.sampler.anchor={name: gain}",
            "strategies.clip.sampler.anchor: expected a list of components (transform)",
        ),
        (
            "strategies.clip.sampler.anchor=gain",
            "strategies.clip.sampler.anchor: expected a list of components (transform)",
        ),
        ("strategies.clip.sampler.max_offset=1e300", "max_offset: must lie in [0, 86400], got 1e+300"),
        ("strategies.clip.sampler.max_offset=.inf", "max_offset: must lie in [0, 86400], got inf"),
        ("strategies.frame.sampler.gap_ms=.inf", "strategies.frame.sampler.gap_ms: must lie in [0, inf), got inf"),
    ],
)
def test_refused_before_training(tmp_path, capsys, setting, reported):
    assert command_line.run(check_config.main, [str(DEFAULT), "--set", setting]) == 2
    error = capsys.readouterr().err
    assert reported in error and error.count("\n") == 1, error


@pytest.mark.skipif(not LONG, reason="many short trainings; SSLTOOLKIT_LONG=1 runs it")
def test_what_is_taken_trains_or_is_refused(check, format_data, make_waves, tmp_path, capsys):
    data = format_data("d", make_waves(8, seconds=1.2))
    small = [
        "encoder.width=4",
        "encoder.pitch_bins=80",
        "encoder.embed_dim=16",
        "training.max_steps=2",
        "training.batch_size=6",
        "training.valid_interval=1",
    ]
    config = load_config(
        DEFAULT,
        [*small, "training.log_interval=1", "training.device=cpu", "training.threads=1", "training.precision=fp32"],
    )
    seen = set()
    for path in paths(config):
        for value in (0, 1, -1, 1e300, 1e9, 0.001, True, [], None, "text"):
            kind = (path[2:] if path[0] == "strategies" else path, repr(value))
            changed = with_value(config, path, value)
            if kind in seen or path[-1] in LENGTHS or check(changed)[0] == 2:
                continue
            seen.add(kind)
            (tmp_path / "taken.yaml").write_text(dump_config(changed))
            folder = re.sub(r"\W+", "_", f"{path}-{value}")
            arguments = [
                "--config",
                "taken.yaml",
                "--train_dir",
                str(data),
                "--valid_dir",
                str(data),
                "--exp_dir",
                f"exp/{folder}",
            ]
            status = command_line.run(pretrain.main, arguments)
            error = capsys.readouterr().err
            assert status == 0 or (status == 2 and error.count("error:") == 1), (path, value, error)
    print(f"{len(seen)} trainings")
