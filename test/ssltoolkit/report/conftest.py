"""Results of two models on four tasks, measured once for all report tests."""

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "evaluation"))

from embedding_corpus import clip_corpus, sed_corpus  # noqa: E402

from ssltoolkit import command_line
from ssltoolkit.bin import evaluate  # noqa: E402

TASKS = (("scenes", "clip"), ("tags", "clip"), ("events", "sed"), ("notes", "pitch"))


@pytest.fixture(scope="session")
def measured(tmp_path_factory):
    """A folder with ``results/<model>/<task>.json`` of the models ``good`` and ``poor``."""
    root = tmp_path_factory.mktemp("measured")
    for model, noise in (("good", 0.8), ("poor", 3.0)):
        data = root / model
        clip_corpus(data / "scenes", noise, model=model)
        clip_corpus(data / "tags", noise, multilabel=True, model=model)
        clip_corpus(data / "notes", noise, kind="pitch", model=model)
        sed_corpus(data / "events", noise, model, (("train", 16), ("valid", 8), ("test", 8)))
        for name, kind in TASKS:
            arguments = ["--task", kind, "--embed_dir", data / name / "embed", "--data_dir", data / name / "data"]
            arguments += ["--output", root / "results" / model / f"{name}.json", "--quick", "true", "--seeds", "0,1"]
            arguments += ["--label_fraction", "0.2,1"] if name == "scenes" else []
            assert command_line.run(evaluate.main, [str(argument) for argument in arguments]) == 0
    return root


@pytest.fixture(scope="session")
def train_log(tmp_path_factory):
    """An experiment folder with ``train_log.jsonl``."""
    folder = tmp_path_factory.mktemp("experiment")
    lines = []
    for step in range(0, 100, 5):
        scalars = {"loss": 4 - step / 50, "clip/loss": 3 - step / 50, "pitch/loss": 0.1, "clips_per_s": 700.0}
        lines.append({"step": step, "split": "train", **scalars, "effective_rank": 10 + step / 10})
        if step % 25 == 0:
            lines.append({"step": step, "split": "valid", **scalars})
    (folder / "train_log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder
