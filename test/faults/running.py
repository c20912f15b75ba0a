"""What runs left behind, compared."""

import json
import os

#: the long form of the harnesses is asked for
LONG = os.environ.get("SSLTOOLKIT_LONG") == "1"


def log_lines(folder):
    """The training log without what depends on the clock."""
    lines = [json.loads(line) for line in (folder / "train_log.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "clips_per_s"} for line in lines]


def assert_no_gaps(folder, steps, valid_interval):
    """Every training step once and in order, every validation at its place."""
    lines = log_lines(folder)
    assert [line["step"] for line in lines if line["split"] == "train"] == list(range(1, steps + 1))
    due = [step for step in range(1, steps + 1) if step % valid_interval == 0 or step == steps]
    assert [line["step"] for line in lines if line["split"] == "valid"] == due


def same_state(one, other):
    """Whether two checkpoints hold the same bits."""
    import torch

    if isinstance(one, torch.Tensor):
        return one.dtype == other.dtype and one.equal(other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same_state(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same_state, one, other))
    return one == other
