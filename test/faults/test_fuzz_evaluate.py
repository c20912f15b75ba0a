"""evaluate on published tasks with generated faults: status 0 or 2, one line with the cause, no traceback."""

import json
import random

import numpy as np
import pytest
from fuzzing import ODD_TEXT, refused, share, text_file

from ssltoolkit import command_line
from ssltoolkit.bin import evaluate
from ssltoolkit.evaluation.store import EmbeddingWriter

#: metadata of the published tasks (hearpreprocess): the entries that evaluation reads
PUBLISHED = {
    "speech_commands": dict(embedding_type="scene", prediction_type="multiclass", split_mode="trainvaltest", sample_duration=1.0, evaluation=["top1_acc"]),
    "nsynth_pitch": dict(embedding_type="scene", prediction_type="multiclass", split_mode="trainvaltest", sample_duration=4.0, evaluation=["pitch_acc", "chroma_acc"]),
    "dcase2016_task2": dict(embedding_type="event", prediction_type="multilabel", split_mode="trainvaltest", sample_duration=120.0, evaluation=["event_onset_200ms_fms", "segment_1s_er"]),
    "maestro": dict(embedding_type="event", prediction_type="multilabel", split_mode="presplit_kfold", sample_duration=120.0, evaluation=["event_onset_50ms_fms", "event_onset_offset_50ms_20perc_fms"],
                    evaluation_params={"event_postprocessing_grid": {"median_filter_ms": [150], "min_duration": [50]}}),
    "fsd50k": dict(embedding_type="scene", prediction_type="multilabel", split_mode="trainvaltest", sample_duration=None, evaluation=["mAP", "top1_acc", "d_prime", "aucroc"]),
    "esc50": dict(embedding_type="scene", prediction_type="multiclass", split_mode="presplit_kfold", sample_duration=5.0, evaluation=["top1_acc"]),
    "beijing_opera": dict(embedding_type="scene", prediction_type="multiclass", split_mode="new_split_kfold", sample_duration=4.77, evaluation=["top1_acc"]),
    "libricount": dict(embedding_type="scene", prediction_type="multiclass", split_mode="new_split_kfold", sample_duration=5.0, evaluation=["top1_acc"]),
    "vox_lingua_top10": dict(embedding_type="scene", prediction_type="multiclass", split_mode="new_split_kfold", sample_duration=18.63, evaluation=["top1_acc"]),
    "gunshot_triangulation": dict(embedding_type="scene", prediction_type="multiclass", split_mode="presplit_kfold", sample_duration=1.5, evaluation=["top1_acc"]),
    "beehive_states": dict(embedding_type="scene", prediction_type="multiclass", split_mode="trainvaltest", sample_duration=600.0, evaluation=["aucroc", "top1_acc"]),
    "mridangam_stroke": dict(embedding_type="scene", prediction_type="multiclass", split_mode="new_split_kfold", sample_duration=0.81, evaluation=["top1_acc"]),
}  # fmt: skip


def hear_task(rng, root, name):
    """Write a miniature of a published task, with embeddings."""
    meta = {"task_name": name, "version": "hear2021", "mode": "small", **json.loads(json.dumps(PUBLISHED[name]))}
    splits = ["train", "valid", "test"] if meta["split_mode"] == "trainvaltest" else [f"fold{n:02d}" for n in range(3)]
    labels = ["48", "50", "60"] if "pitch_acc" in meta["evaluation"] else ["a", "b", "c"]
    meta["splits"], numbers, times = splits, np.random.default_rng(rng.randrange(1 << 30)), 50.0 * (np.arange(20) + 0.5)
    (root / "task").mkdir()
    (root / "task/labelvocabulary.csv").write_text(
        "idx,label\n" + "".join(f"{n},{label}\n" for n, label in enumerate(labels))
    )
    for split in splits:
        entries = {}
        with EmbeddingWriter(
            root / "emb" / split,
            "frame" if meta["embedding_type"] == "event" else "scene",
            6,
            {"model": "m", "model_hash": "0", "hop_ms": 50.0},
        ) as out:
            for n in range(6):
                if meta["embedding_type"] == "event":
                    entries[f"{split}{n}.wav"] = [{"label": labels[n % 3], "start": 100.0, "end": 500.0}]
                    out.add(f"{split}{n}", numbers.normal(size=(20, 6)).astype(np.float32), times)
                else:
                    entries[f"{split}{n}.wav"] = (
                        [labels[n % 3]]
                        if meta["prediction_type"] == "multiclass"
                        else rng.sample(labels, rng.randrange(4))
                    )
                    out.add(f"{split}{n}", numbers.normal(size=6).astype(np.float32), None)
        (root / "task" / f"{split}.json").write_text(json.dumps(entries))
    (root / "task/task_metadata.json").write_text(json.dumps(meta))
    return splits


def hurt(rng, value):
    """Replace one part of a JSON value, at any depth."""
    if isinstance(value, (dict, list)) and value and rng.random() < 0.8:
        key = rng.choice(sorted(value, key=str)) if isinstance(value, dict) else rng.randrange(len(value))
        if rng.random() < 0.15:
            del value[key]
        else:
            value[key] = hurt(rng, value[key])
        return value
    return rng.choice([None, [], {}, "", "x", -1, 0, 1e308, True, [None], ["a", "a"], {"label": "a"}, *ODD_TEXT])


@pytest.mark.parametrize("case", share("evaluate"))
def test_evaluate(tmp_path, capsys, case):
    rng = random.Random(f"evaluate {case}")
    name = sorted(PUBLISHED)[case % len(PUBLISHED)]
    splits = hear_task(rng, tmp_path, name)
    changed = case // len(PUBLISHED) != 0  # the first case of each task is unchanged
    if changed:
        path = (
            tmp_path
            / "task"
            / rng.choice(
                ["task_metadata.json", "task_metadata.json", f"{rng.choice(splits)}.json", "labelvocabulary.csv"]
            )
        )
        text = path.read_text()
        if path.suffix == ".json" and rng.random() < 0.8:
            content = json.loads(text)
            for _ in range(rng.randrange(1, 3)):
                content = hurt(rng, content)
            text = json.dumps(content)
        else:
            at = rng.randrange(len(text))
            text = text[:at] + rng.choice(ODD_TEXT) + text[at + rng.randrange(4) :]
        text_file(rng, path, text)
    mode = ["--probe_mode", rng.choice(["knn", "linear"]), "--quick", "true"]
    arguments = [
        "--hear_task",
        tmp_path / "task",
        "--embed_dir",
        tmp_path / "emb",
        "--output",
        tmp_path / "r/r.json",
        "--seeds",
        "0",
        *mode,
    ]
    status = refused(lambda: command_line.run(evaluate.main, [str(part) for part in arguments]), capsys)
    assert changed or status == 0
    if status == 0:
        for score in json.loads((tmp_path / "r/r.json").read_text())["scores"].values():
            assert score["ci95"][0] <= score["mean"] <= score["ci95"][1]
