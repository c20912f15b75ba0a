"""Compare the logs and checkpoints of runs."""

import json
import os

#: run the long form of the tests
LONG = os.environ.get("SSLTOOLKIT_LONG") == "1"


def log_lines(folder):
    """Return the training log without values that depend on run time."""
    lines = [json.loads(line) for line in (folder / "train_log.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "clips_per_s"} for line in lines]


def assert_no_gaps(folder, steps, valid_interval):
    """Assert that every training step is logged once and in order, and every validation at its step."""
    lines = log_lines(folder)
    assert [line["step"] for line in lines if line["split"] == "train"] == list(range(1, steps + 1))
    due = [step for step in range(1, steps + 1) if step % valid_interval == 0 or step == steps]
    assert [line["step"] for line in lines if line["split"] == "valid"] == due


def same_state(one, other):
    """Whether two checkpoints are equal bit for bit."""
    import torch

    if isinstance(one, torch.Tensor):
        return one.dtype == other.dtype and one.equal(other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same_state(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same_state, one, other))
    return one == other
