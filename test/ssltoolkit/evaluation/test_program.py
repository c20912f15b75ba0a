"""The evaluate program: results on disk, comparison, label efficiency, options and exit statuses."""

import json
from pathlib import Path

import numpy as np
import pytest
from embedding_corpus import clip_corpus, sed_corpus

from ssltoolkit import command_line
from ssltoolkit.bin import evaluate
from ssltoolkit.errors import DataError
from ssltoolkit.evaluation import psds as psds_module
from ssltoolkit.evaluation import sed
from ssltoolkit.evaluation.results import evidence_of, load_arrays, read_result, training_text
from ssltoolkit.evaluation.statistics import mean_score
from ssltoolkit.evaluation.task import task_of
from ssltoolkit.report.collect import Results
from ssltoolkit.report.tables import provenance


def run(root, task, output, *options, seeds="0,1"):
    arguments = ["--task", task, "--embed_dir", root / "embed", "--data_dir", root / "data", "--output", output]
    arguments += ["--quick", "true", "--seeds", seeds, *options]
    return command_line.run(evaluate.main, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def corpora(tmp_path_factory):
    root = tmp_path_factory.mktemp("corpora")
    clip_corpus(root / "clip"), clip_corpus(root / "noisy", noise=3.0, model="n")
    clip_corpus(root / "multi", multilabel=True), clip_corpus(root / "pitch", kind="pitch"), sed_corpus(root / "sed")
    return root


@pytest.mark.parametrize(
    "corpus, task, metrics",
    [
        ("clip", "clip", ["top1_acc"]),
        ("multi", "clip", ["mAP", "aucroc", "d_prime"]),
        ("pitch", "pitch", ["pitch_acc", "chroma_acc"]),
        (
            "sed",
            "sed",
            ["event_onset_200ms_fms", "segment_1s_er", "event_onset_50ms_fms", "event_onset_offset_50ms_20perc_fms"],
        ),
    ],
)
def test_results_hold_what_is_needed_to_repeat_them(corpora, tmp_path, corpus, task, metrics):
    output = tmp_path / "mymodel" / "mytask.json"
    assert run(corpora / corpus, task, output) == 0
    result = read_result(output)
    assert (result["model"], result["task"], result["task_name"]) == ("mymodel", task, "mytask")
    assert list(result["scores"]) == metrics
    meta = result["meta"]
    assert meta["embeddings"]["model_hash"] == "m" and len(meta["data_hash"]) == 64 and meta["seeds"] == [0, 1]
    assert meta["command"].startswith("ssltoolkit evaluate --task") and "torch" in meta["versions"]
    assert meta["utterances"] == {"train": 48, "valid": 24, "test": 24}
    arrays = load_arrays(result)
    for name, score in result["scores"].items():
        assert mean_score(evidence_of(arrays, task_of(result).metric(name))).tolist() == pytest.approx(
            score["per_seed"]
        )
        assert score["ci95"][0] <= score["mean"] <= score["ci95"][1]


def test_a_second_run_gives_the_same_scores(corpora, tmp_path):
    for name in ("a", "b"):
        assert run(corpora / "clip", "clip", tmp_path / f"{name}.json") == 0
    assert read_result(tmp_path / "a.json")["scores"] == read_result(tmp_path / "b.json")["scores"]


@pytest.mark.parametrize("mode", ["linear", "knn"])
def test_other_probes(corpora, tmp_path, mode):
    assert run(corpora / "clip", "clip", tmp_path / "r.json", "--probe_mode", mode) == 0
    assert read_result(tmp_path / "r.json")["scores"]["top1_acc"]["mean"] > 0.6


def test_the_label_efficiency_curve_ends_at_the_main_score(corpora, tmp_path):
    assert run(corpora / "clip", "clip", tmp_path / "r.json", "--label_fraction", "0.1,1") == 0
    result = read_result(tmp_path / "r.json")
    assert list(result["label_efficiency"]) == ["0.1", "1"]
    assert result["label_efficiency"]["1"] == result["scores"]


def test_a_share_of_the_training_files_is_recorded_printed_and_compared_only_with_its_like(corpora, tmp_path, capsys):
    for name, share in (("a", "1"), ("b", "0.1")):
        assert (
            run(corpora / "clip", "clip", tmp_path / f"{name}.json", "--label_fraction", share, "--probe_mode", "knn")
            == 0
        )
    meta = read_result(tmp_path / "b.json")["meta"]
    # 2 of the 16 files of each of the three classes (0.1, rounded, at least one)
    assert meta["label_fraction"] == 0.1 and meta["train_files"] == [6]
    assert training_text(meta) == "6 of 48 train, 24 valid, 24 test files"
    assert training_text(read_result(tmp_path / "a.json")["meta"]) == "48 train, 24 valid, 24 test files"
    folds = {**meta, "utterances": {f"fold{i}": 1000 for i in (1, 2, 3)}, "train_files": [100, 101, 100]}
    assert training_text(folds).endswith("1,000 fold3 files, probe trained on 10 % (100 to 101 a round)")
    capsys.readouterr()
    assert command_line.run(evaluate.main, ["--compare", str(tmp_path / "a.json"), str(tmp_path / "b.json")]) == 2
    error = capsys.readouterr().err
    assert "b.json: its probe trained on 10 % of the training files (6), that of" in error and error.count("\n") == 1


def test_class_thresholds_are_recorded(corpora, tmp_path):
    assert run(corpora / "sed", "sed", tmp_path / "r.json", "--class_thresholds", "true", seeds="0") == 0
    chosen = read_result(tmp_path / "r.json")["probe"]["chosen"][0][0]
    assert len(chosen["thresholds"]) == 3 and chosen["min_duration_ms"] in (125.0, 250.0)


def test_events_that_post_processing_removes_are_counted_and_told(corpora, tmp_path, capsys):
    assert run(corpora / "sed", "sed", tmp_path / "kept.json", "--probe_mode", "linear", seeds="0") == 0
    assert "too short" not in capsys.readouterr().err
    assert (
        run(
            corpora / "sed",
            "sed",
            tmp_path / "lost.json",
            "--probe_mode",
            "linear",
            "--min_duration_ms",
            "600",
            seeds="0",
        )
        == 0
    )
    rows = [
        line.split("\t")
        for path in (corpora / "sed" / "data").glob("*/events.tsv")
        for line in path.read_text().splitlines()[1:]
    ]
    short = sum(float(offset) - float(onset) < 0.6 for _, onset, offset, _ in rows)
    assert (
        0 < short < len(rows)
        and f"{short:,} of {len(rows):,} annotated events are too short" in capsys.readouterr().err
    )
    for name, count in (("kept", 0), ("lost", short)):
        meta = read_result(tmp_path / f"{name}.json")["meta"]
        assert (meta["events"], meta["events_too_short"]) == (len(rows), count)
    lines = provenance(Results(["m"], ["lost"], {("m", "lost"): read_result(tmp_path / "lost.json")}))
    assert f"{short:,} of {len(rows):,} events too short for the post-processing" in lines[0]


def test_psds_filters_each_seed_with_its_own_width(corpora, tmp_path, monkeypatch):
    asked = []

    def psds(posteriors, timeline, reference, vocabulary, median_filter_ms):
        asked.extend(median_filter_ms)
        return {"psds1": np.full((len(posteriors), 101), 0.5)}

    monkeypatch.setattr(psds_module, "psds", psds)
    monkeypatch.setattr(psds_module, "require", lambda: None)
    score_models, calls = sed.score_models, []

    def another_width_for_each_probe(probabilities, *args, **kwargs):
        scores = score_models(probabilities, *args, **kwargs)
        if not kwargs:  # the selection of a probe's post-processing
            scores[0, len(calls)] += 1.0
            calls.append(1)
        return scores

    monkeypatch.setattr(sed, "score_models", another_width_for_each_probe)
    options = ["--psds", "true", "--median_filter_ms", "40,120,200", "--min_duration_ms", "0"]
    assert run(corpora / "sed", "sed", tmp_path / "r.json", *options, seeds="0,1,2") == 0
    result = read_result(tmp_path / "r.json")
    assert asked == [one["median_filter_ms"] for one in result["probe"]["chosen"][0]] and asked == [40, 120, 200]
    assert result["scores"]["psds1"] == {"mean": 0.5, "per_seed": [0.5, 0.5, 0.5], "ci95": [0.5, 0.5]}


def test_a_damaged_npz_is_one_line(corpora, tmp_path):
    assert run(corpora / "sed", "sed", tmp_path / "r.json", seeds="0") == 0
    result = read_result(tmp_path / "r.json")
    whole = Path(result["per_file"]).read_bytes()
    Path(result["per_file"]).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"npz: cannot be read \(.*\); run ssltoolkit evaluate again"):
        load_arrays(result)


def test_posteriors_times_and_events_are_kept_for_the_pictures(corpora, tmp_path):
    assert run(corpora / "sed", "sed", tmp_path / "r.json", seeds="0") == 0
    arrays = load_arrays(read_result(tmp_path / "r.json"))
    assert arrays["posteriors"].shape == (2400, 3) and arrays["bounds"].tolist() == list(range(0, 2401, 100))
    assert arrays["reference_file"].max() == 23 and (arrays["predicted_seed"] == 0).all()
    assert arrays["counts:segment_1s_er"].shape == (1, 24, 4)


def test_comparison_on_the_same_files(corpora, tmp_path, capsys):
    paths = [tmp_path / name / "t.json" for name in ("good", "poor")]
    for corpus, path in zip(("clip", "noisy"), paths):
        assert run(corpora / corpus, "clip", path) == 0
    capsys.readouterr()
    assert command_line.run(evaluate.main, ["--compare", *map(str, paths)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "good - poor" and lines[1].startswith("top1_acc: +") and "p " in lines[1]


def test_results_of_other_data_are_not_compared(corpora, tmp_path, capsys):
    assert run(corpora / "clip", "clip", tmp_path / "a.json") == 0
    assert run(corpora / "multi", "clip", tmp_path / "b.json") == 0
    assert command_line.run(evaluate.main, ["--compare", str(tmp_path / "a.json"), str(tmp_path / "b.json")]) == 2
    assert "not measured on the same files and labels" in capsys.readouterr().err


@pytest.mark.parametrize(
    "task, options, message",
    [
        ("clip", ["--metrics", "pitch_acc"], "--metrics pitch_acc: task 'data' has top1_acc"),
        ("clip", ["--label_fraction", "0,1"], "--label_fraction: every share"),
        ("clip", ["--seeds", "1,1"], "--seeds: needs different"),
        ("sed", [], "no such file"),
    ],
)
def test_bad_usage_is_one_line_and_exit_status_2(corpora, tmp_path, capsys, task, options, message):
    assert run(corpora / "clip", task, tmp_path / "r.json", *options) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1 and not (tmp_path / "r.json").exists()


def test_required_options(capsys):
    assert command_line.run(evaluate.main, ["--task", "clip"]) == 2
    assert "--embed_dir is required" in capsys.readouterr().err


@pytest.mark.parametrize("text, where", [("{\n", ":2: not JSON"), ("[]", ":1: not a result file")])
def test_a_damaged_result_names_its_line(tmp_path, capsys, text, where):
    (tmp_path / "a.json").write_text(text)
    assert command_line.run(evaluate.main, ["--compare", str(tmp_path / "a.json"), str(tmp_path / "a.json")]) == 2
    assert f"a.json{where}" in capsys.readouterr().err


def test_results_are_plain_json(corpora, tmp_path):
    assert run(corpora / "clip", "clip", tmp_path / "r.json", "--probe_mode", "knn") == 0
    text = (tmp_path / "r.json").read_text()
    json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} in the result"))
    assert np.load(tmp_path / "r.npz", allow_pickle=False)["probabilities"].shape == (2, 24, 3)
