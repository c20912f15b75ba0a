"""training/monitor.py: collapse measures, and a log that is cut to the checkpoint from which a run resumes."""

import json

import numpy as np
import pytest
import torch

from ssltoolkit.training.monitor import Progress, TrainLog, embedding_statistics


def reference_rank(x):
    singular = np.linalg.svd(x - x.mean(0), compute_uv=False)
    share = singular / singular.sum()
    share = share[share > 1e-12]
    return np.exp(-(share * np.log(share)).sum())


@pytest.mark.parametrize("shape", [(8, 6, 16), (3, 4, 32), (500, 8, 12), (128, 24, 8), (128, 16, 8)])
def test_effective_rank_against_svd(shape):
    frames = torch.randn(*shape, generator=torch.Generator().manual_seed(0)) * torch.linspace(0.1, 2, shape[-1])
    flat = frames.reshape(-1, shape[-1]).numpy()
    flat = flat[:: max(1, -(-len(flat) // 2048))]
    assert 1024 <= len(flat) <= 2048 or flat.size == frames.numel()
    measured = embedding_statistics(frames)
    assert measured["effective_rank"] == pytest.approx(reference_rank(flat), rel=1e-3)
    assert measured["embedding_std"] == pytest.approx(flat.std(0, ddof=1).mean(), rel=1e-4)


def test_collapsed_embeddings():
    one_direction = torch.randn(200, 1, 1) * torch.randn(16)
    assert embedding_statistics(one_direction)["effective_rank"] == pytest.approx(1.0, abs=0.05)
    constant = embedding_statistics(torch.ones(10, 4, 16))
    assert constant["embedding_std"] == 0.0 and np.isfinite(constant["effective_rank"])


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_embeddings_that_are_not_finite(bad):
    frames = torch.randn(4, 3, 8)
    frames[1, 2, 3] = bad
    assert all(np.isnan(value) for value in embedding_statistics(frames).values())


def curves(folder):
    """Points of each curve in the order of the files; a start removes earlier points from its step on."""
    from tensorboardX.proto.event_pb2 import Event, SessionLog

    points = {}
    for path in sorted((folder / "tensorboard").iterdir(), key=lambda path: path.stat().st_mtime_ns):
        data, position = path.read_bytes(), 0
        while position < len(data):
            length = int.from_bytes(data[position : position + 8], "little")
            event = Event.FromString(data[position + 12 : position + 12 + length])
            position += length + 16
            if event.session_log.status == SessionLog.START:
                points = {name: {s: v for s, v in found.items() if s < event.step} for name, found in points.items()}
            for value in event.summary.value:
                points.setdefault(value.tag, {})[event.step] = value.simple_value
    return points


def test_curves_of_a_run_that_was_cut_off(tmp_path, monkeypatch):
    log = TrainLog(tmp_path)
    for step in (1, 2, 3):
        log.write(step, "train", {"loss": step / 2})
        if step == 2:
            log.sync()
            assert curves(tmp_path) == {"train/loss": {1: 0.5, 2: 1.0}}, (
                "killed after a checkpoint, its points would be lost"
            )
    log.close()
    for path in (tmp_path / "tensorboard").iterdir():
        path.rename(path.with_name(path.name + ".first"))  # as for two starts within one second
    log = TrainLog(tmp_path, resume_step=2)
    log.write(3, "train", {"loss": 9})
    log.close()
    assert curves(tmp_path) == {"train/loss": {1: 0.5, 2: 1.0, 3: 9.0}}


@pytest.mark.parametrize("line", ["[]", "3", '{"step": "x"}', "null", '{"step": null}'])
def test_a_damaged_line_is_dropped(tmp_path, line):
    (tmp_path / "train_log.jsonl").write_text(f'{{"step": 1, "split": "train"}}\n{line}\n')
    TrainLog(tmp_path, resume_step=5).close()
    assert read(tmp_path) == [{"step": 1, "split": "train"}]


def read(folder):
    return [json.loads(line) for line in (folder / "train_log.jsonl").read_text().splitlines()]


def test_log_drops_what_lies_beyond_the_checkpoint(tmp_path):
    log = TrainLog(tmp_path)
    for step in (2, 4, 6, 8):
        log.write(step, "train", {"loss": step / 3, "clip/loss": float("nan")})
    log.close()
    with open(tmp_path / "train_log.jsonl", "a") as out:
        out.write('{"step": 9, "spl')
    log = TrainLog(tmp_path, resume_step=5)
    log.write(6, "valid", {"loss": 1})
    log.close()
    lines = read(tmp_path)
    assert [(line["step"], line["split"]) for line in lines] == [(2, "train"), (4, "train"), (6, "valid")]
    assert lines[0]["loss"] == 0.666667 and np.isnan(lines[0]["clip/loss"])
    assert list((tmp_path / "tensorboard").iterdir())


def test_only_the_first_process_writes(tmp_path):
    log = TrainLog(tmp_path, enabled=False)
    log.write(1, "train", {"loss": 1.0})
    log.close()
    assert not list(tmp_path.iterdir())


def test_progress_in_a_log_file_ends_with_the_last_step(capsys):
    progress = Progress(5, 3)
    progress.update(4, "loss 2")
    progress.update(5, "loss 1")
    progress.close()
    assert capsys.readouterr().out.startswith("step 5/5  loss 1")
