"""HEAR task directories in their published form, from labels and embeddings to a result."""

import json
import random
import shutil

import numpy as np
import pytest
from embedding_corpus import FRAMES, HOP_MS, LABELS, sound_events, write_lines

from ssltoolkit import command_line
from ssltoolkit.bin import evaluate
from ssltoolkit.data.datadir import DataDir
from ssltoolkit.errors import UserError
from ssltoolkit.evaluation.hear_task import HearTask, load_hear_task
from ssltoolkit.evaluation.probe_config import probe_config
from ssltoolkit.evaluation.store import EmbeddingStore, EmbeddingWriter

CENTRES = np.random.default_rng(5).normal(size=(4, 12))


def write_task(root, splits, metadata, entries, vocabulary):
    root.mkdir(parents=True)
    (root / "task_metadata.json").write_text(json.dumps({"splits": splits, "sample_duration": 4.0, **metadata}))
    write_lines(root / "labelvocabulary.csv", ["idx,label", *(f"{i},{name}" for i, name in enumerate(vocabulary))])
    for split in splits:
        (root / f"{split}.json").write_text(json.dumps(entries[split], indent=1))


def scene_task(root, splits, mode, evaluation=("top1_acc",), vocabulary=LABELS, prediction="multiclass"):
    rng = np.random.default_rng(1)
    entries = {}
    for s, split in enumerate(splits):
        files = {f"{split}_{i:02d}.wav": [vocabulary[i % len(vocabulary)]] for i in range(24)}
        entries[split] = files
        with EmbeddingWriter(root / "embed" / split, "scene", 12, {"model": "m", "model_hash": "h"}) as writer:
            for name, (label,) in files.items():
                row = CENTRES[vocabulary.index(label)] + 0.5 * rng.normal(size=12)
                writer.add(name if s % 2 else name[: -len(".wav")], row)
    metadata = {
        "task_name": "scenes", "embedding_type": "scene", "prediction_type": prediction, "split_mode": mode,
        "evaluation": list(evaluation),
    }  # fmt: skip
    write_task(root / "task", splits, metadata, entries, vocabulary)
    return root / "task", root / "embed"


def event_task(root, splits, mode):
    rng = np.random.default_rng(2)
    times = HOP_MS * (np.arange(FRAMES) + 0.5)
    entries = {}
    for split in splits:
        entries[split] = {}
        with EmbeddingWriter(root / "embed" / split, "frame", 12, {"model": "m", "model_hash": "h"}) as writer:
            for i in range(12):
                events = sound_events(rng)
                frames = 0.4 * rng.normal(size=(FRAMES, 12))
                for onset, offset, label in events:
                    frames[(times >= 1000 * onset) & (times < 1000 * offset)] += CENTRES[LABELS.index(label)]
                writer.add(f"{split}_{i:02d}.wav", frames, times)
                entries[split][f"{split}_{i:02d}.wav"] = [
                    {"label": label, "start": 1000 * onset, "end": 1000 * offset} for onset, offset, label in events
                ]
    metadata = {
        "task_name": "events", "embedding_type": "event", "prediction_type": "multilabel", "split_mode": mode,
        "evaluation": ["event_onset_200ms_fms", "segment_1s_er"],
        "evaluation_params": {"event_postprocessing_grid": {"median_filter_ms": [250], "min_duration": [125, 250]}},
    }  # fmt: skip
    write_task(root / "task", splits, metadata, entries, LABELS)
    return root / "task", root / "embed"


TRAINVALTEST = (["train", "valid", "test"], "trainvaltest")
KFOLD = (["fold00", "fold01", "fold02", "fold03"], "presplit_kfold")


@pytest.mark.parametrize(
    "make, metric, least", [(scene_task, "top1_acc", 0.8), (event_task, "event_onset_200ms_fms", 0.6)]
)
@pytest.mark.parametrize("splits, mode", [TRAINVALTEST, KFOLD])
def test_a_task_runs_from_end_to_end(tmp_path, capsys, make, metric, least, splits, mode):
    task, embed = make(tmp_path, splits, mode)
    output = tmp_path / "results" / "m" / "t.json"
    arguments = ["--hear_task", task, "--embed_dir", embed, "--output", output, "--quick", "true", "--seeds", "0,1"]
    assert command_line.run(evaluate.main, [str(a) for a in arguments]) == 0
    result = json.loads(output.read_text())
    score = result["scores"][metric]
    assert score["mean"] > least and score["ci95"][0] <= score["mean"] <= score["ci95"][1]
    assert len(score["per_seed"]) == 2 and len(score.get("per_fold", [])) == (4 if mode != "trainvaltest" else 0)
    assert metric in capsys.readouterr().out
    with np.load(output.with_suffix(".npz")) as arrays:
        assert arrays["round"].max() == (3 if mode != "trainvaltest" else 0)
        assert len(arrays["utt_ids"]) == arrays[f"counts:{metric}"].shape[1]


def test_folds_share_the_grid_point_of_the_first(tmp_path):
    task, embed = scene_task(tmp_path, *KFOLD)
    output = tmp_path / "r.json"
    arguments = ["--hear_task", task, "--embed_dir", embed, "--output", output, "--quick", "true"]
    assert command_line.run(evaluate.main, [str(a) for a in arguments]) == 0
    chosen = json.loads(output.read_text())["probe"]["chosen"]
    for seed in range(3):
        assert len({tuple(fold[seed][key] for key in ("hidden_layers", "lr", "init")) for fold in chosen}) == 1


def test_a_pitch_task_knows_its_kind_and_its_vocabulary(tmp_path):
    names = ["48", "50", "60", "62"]
    task = load_hear_task(*scene_task(tmp_path, *TRAINVALTEST, ("pitch_acc", "chroma_acc"), names))
    assert task.kind == "pitch" and task.vocabulary == names and task.metrics == ("pitch_acc", "chroma_acc")


def test_a_multilabel_task_is_one_although_every_file_has_one_label(tmp_path):
    arguments = scene_task(tmp_path, *TRAINVALTEST, ("mAP",), prediction="multilabel")
    assert load_hear_task(*arguments).multilabel


def test_events_and_post_processing_come_from_the_task(tmp_path):
    task = load_hear_task(*event_task(tmp_path, *TRAINVALTEST))
    assert (task.task.median_filter_ms, task.task.min_duration_ms) == ([250], [125, 250])
    entries = json.loads((tmp_path / "task" / "test.json").read_text())
    split = task.splits["test"]
    first = split.events.file == split.utt_ids.index("test_03.wav")
    assert split.events.onset[first].tolist() == sorted(e["start"] / 1000 for e in entries["test_03.wav"])


def edit(path, change):
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content, indent=1))


SMALL = {"max_epochs": [20], "hidden_dim": [8], "hidden_layers": [1], "lr": [1e-2, 1e-3]}


def evaluated(root, task, embed, *options):
    output = root / "results" / "m" / "t.json"
    arguments = ["--hear_task", task, "--embed_dir", embed, "--output", output, "--seeds", "0", "--probe_mode", "hear"]
    status = command_line.run(evaluate.main, [str(a) for a in (*arguments, *options)])
    return json.loads(output.read_text()) if status == 0 else status


def test_hear_mode_follows_what_the_task_asks_for_and_says_so(tmp_path):
    task, embed = event_task(tmp_path, *TRAINVALTEST)
    edit(task / "task_metadata.json", lambda c: c.update(task_name="dcase2016_task2"))
    edit(task / "task_metadata.json", lambda c: c["evaluation_params"].update(task_specific_param_grid=SMALL))
    result = evaluated(tmp_path, task, embed)
    assert result["probe"]["task_specific"] == {"check_val_every_n_epoch": [10], **SMALL}
    assert result["probe"]["chosen"][0][0]["epoch"] in (10, 20) and result["probe"]["choose_by"] == "score"
    assert [result["meta"]["probe_config"][name] for name in ("check_every", "hidden_dim", "max_epochs")] == [10, 8, 20]


def test_hear_mode_chooses_by_the_loss_where_the_task_says_so(tmp_path, capsys):
    task, embed = event_task(tmp_path, *TRAINVALTEST)
    edit(task / "task_metadata.json", lambda c: c.update(use_scoring_for_early_stopping=False))
    edit(task / "task_metadata.json", lambda c: c["evaluation_params"].update(task_specific_param_grid=SMALL))
    assert evaluated(tmp_path, task, embed) == 2
    assert "cannot select among 2 post-processings" in capsys.readouterr().err
    result = evaluated(tmp_path, task, embed, "--min_duration_ms", "125")
    assert result["probe"]["choose_by"] == "loss" and result["probe"]["chosen"][0][0]["valid_score"] < 0


@pytest.mark.parametrize("mode, first", [("hear", 250), ("standard", 125)])
def test_of_equal_post_processings_hear_mode_takes_the_greatest(tmp_path, mode, first):
    task = load_hear_task(*event_task(tmp_path, *TRAINVALTEST))
    assert task.task.grid(probe_config(mode))[0].min_duration_ms == first


def test_a_post_processing_grid_has_the_values_of_the_kit_where_it_leaves_one_out(tmp_path):
    task, embed = event_task(tmp_path, *TRAINVALTEST)
    edit(
        task / "task_metadata.json",
        lambda c: c["evaluation_params"].update(event_postprocessing_grid={"min_duration": [50]}),
    )
    loaded = load_hear_task(task, embed).task
    assert (loaded.median_filter_ms, loaded.min_duration_ms) == ([150.0], [50])
    edit(
        task / "task_metadata.json",
        lambda c: c["evaluation_params"].update(event_postprocessing_grid={"threshold": [0.3]}),
    )
    with pytest.raises(UserError, match=r"task_metadata\.json:1: event_postprocessing_grid: threshold not supported"):
        load_hear_task(task, embed)


@pytest.mark.parametrize(
    "name, change, message",
    [
        ("task_metadata.json", lambda c: c.update(split_mode="other"), r"task_metadata\.json:1: split_mode"),
        (
            "task_metadata.json",
            lambda c: c.update(splits=["train", "test"]),
            r"task_metadata\.json:1: splits lack valid",
        ),
        (
            "task_metadata.json",
            lambda c: c.pop("splits"),
            r"task_metadata\.json:1: splits must be a list of names, got nothing",
        ),
        ("task_metadata.json", lambda c: c.update(splits={"a": 1}), r"splits must be a list of names, got {\"a\": 1}"),
        (
            "task_metadata.json",
            lambda c: c.update(evaluation=None),
            r"task_metadata\.json:1: evaluation must be a list of names, got null",
        ),
        (
            "task_metadata.json",
            lambda c: c.update(sample_duration="4 s"),
            r"sample_duration must be a number of seconds, got \"4 s\"",
        ),
        (
            "test.json",
            lambda c: c.update({"test_05.wav": None}),
            r"test\.json:1: 'test_05\.wav' must have a list of labels or events",
        ),
        ("test.json", lambda c: c.update({"test_05.wav": ["cat"]}), r"test\.json:\d+: label 'cat' is not in"),
        ("test.json", lambda c: c.update({"new.wav": ["dog"]}), r"no embedding of utterance 'new'"),
    ],
)
def test_mistakes_are_named(tmp_path, name, change, message):
    task, embed = scene_task(tmp_path, *TRAINVALTEST)
    edit(task / name, change)
    with pytest.raises(UserError, match=message):
        load_hear_task(task, embed)


@pytest.mark.parametrize(
    "name, message", [("task_metadata.json", "an object, got "), ("test.json", "an object of file names, got ")]
)
def test_lists_instead_of_objects_are_one_line_and_status_2(tmp_path, capsys, name, message):
    task, embed = scene_task(tmp_path, *TRAINVALTEST)
    (task / name).write_text(json.dumps([1] * 50))
    assert evaluated(tmp_path, task, embed) == 2
    error = capsys.readouterr().err
    assert (
        f"{name}:1: must be {message}[1, 1, " in error and error.count("\n") == 1 and len(error.split("got ")[1]) <= 61
    )


def test_a_post_processing_grid_has_lists(tmp_path):
    task, embed = event_task(tmp_path, *TRAINVALTEST)
    edit(
        task / "task_metadata.json",
        lambda c: c["evaluation_params"].update(event_postprocessing_grid={"min_duration": 50}),
    )
    with pytest.raises(UserError, match=r"event_postprocessing_grid\.min_duration must be a list of numbers, got 50"):
        load_hear_task(task, embed)


def test_broken_json_and_a_late_event_name_the_line(tmp_path):
    task, embed = event_task(tmp_path, *TRAINVALTEST)
    edit(task / "test.json", lambda c: c["test_02.wav"].append({"label": "bell", "start": 3900, "end": 4500}))
    with pytest.raises(UserError, match=r"test\.json:\d+: event 'bell' of 'test_02\.wav' ends at 4\.5 s"):
        load_hear_task(task, embed)
    (task / "test.json").write_text('{\n"a.wav": [\n')
    with pytest.raises(UserError, match=r"test\.json:3: not JSON"):
        load_hear_task(task, embed)


def with_audio(task, splits):
    """Add (empty) audio files to the task."""
    for split in splits:
        (task / "16000" / split).mkdir(parents=True)
        for name in json.loads((task / f"{split}.json").read_text()):
            (task / "16000" / split / name).touch()
    return task


def test_data_directories_for_the_embedding_program(tmp_path):
    task = with_audio(scene_task(tmp_path, *TRAINVALTEST)[0], TRAINVALTEST[0])
    written = HearTask(task).write_data_dirs(tmp_path / "data", 16000)
    assert [path.name for path in written] == TRAINVALTEST[0]
    assert DataDir(written[2]).wav()["test_03"].endswith("16000/test/test_03.wav")
    with pytest.raises(UserError, match="download the task at 48000 Hz"):
        HearTask(task).write_data_dirs(tmp_path / "data", 48000)
    (task / "16000/test/test_03.wav").unlink()
    with pytest.raises(UserError, match=r"of the \d+ files of test\.json exist \(missing: .*test_03\.wav\)"):
        HearTask(task).write_data_dirs(tmp_path / "data", 16000)


def test_a_k_fold_task_is_one_data_directory(tmp_path):
    task = with_audio(scene_task(tmp_path, *KFOLD)[0], KFOLD[0])
    (written,) = HearTask(task).write_data_dirs(tmp_path / "data", 16000)
    folds, first = DataDir(written).folds(), KFOLD[0][0]
    assert sorted(set(folds.values())) == list(range(1, len(KFOLD[0]) + 1))
    assert all((number == 1) == utt.startswith(first) for utt, number in folds.items())
    same = next(iter(json.loads((task / f"{first}.json").read_text())))
    edit(task / f"{KFOLD[0][1]}.json", lambda content: content.update({same: ["dog"]}))
    (task / "16000" / KFOLD[0][1] / same).touch()
    with pytest.raises(UserError, match="two folds have a file of the same name"):
        HearTask(task).write_data_dirs(tmp_path / "data", 16000)


def rename(root, change):
    """Rename the files of the task and of its embeddings."""
    for split in TRAINVALTEST[0]:
        files = json.loads((root / "task" / f"{split}.json").read_text())
        names = {name: change(i, name, label) for i, (name, (label,)) in enumerate(files.items())}
        (root / "task" / f"{split}.json").write_text(json.dumps({names[name]: label for name, label in files.items()}))
        store = EmbeddingStore(root / "embed" / split)
        rows = {
            names[name]: np.array(store.matrix[store.rows(name if name in set(store.utt_ids) else name[:-4])][0])
            for name in files
        }
        shutil.rmtree(root / "embed" / split)
        with EmbeddingWriter(root / "embed" / split, "scene", 12, {"model": "m", "model_hash": "h"}) as writer:
            for name in sorted(rows):
                writer.add(name, rows[name])


def test_hear_mode_trains_on_the_rows_in_the_kits_order_whatever_their_names(tmp_path):
    """hear-eval-kit shuffles the files of each split in the order of its JSON file, one split after another, with one
    random generator of seed 0.
    """
    scores = []
    for form in ("as they are", "by class"):
        task, embed = scene_task(tmp_path / form, *TRAINVALTEST)
        if form == "by class":
            rename(tmp_path / form, lambda i, name, label: f"{label}_{i:03d}.wav")
        loaded, generator = load_hear_task(task, embed), random.Random(0)
        for split in TRAINVALTEST[0]:
            files = list(json.loads((task / f"{split}.json").read_text()))
            generator.shuffle(files)
            split = loaded.splits[split].subset(loaded.kit_order[split])
            assert [utt.replace(".wav", "") for utt in split.utt_ids] == [name[:-4] for name in files]
        edit(
            task / "task_metadata.json",
            lambda meta: meta.update(evaluation_params={"task_specific_param_grid": {**SMALL, "batch_size": [6]}}),
        )
        scores.append(evaluated(tmp_path / form, task, embed)["probe"]["chosen"])
    assert scores[0] == scores[1]


def test_folds_are_sorted_as_the_kit_sorts_them(tmp_path):
    task, embed = scene_task(tmp_path, *KFOLD)
    edit(task / "task_metadata.json", lambda meta: meta["splits"].reverse())
    loaded = load_hear_task(task, embed)
    assert [test for _, _, test in loaded.rounds] == [["fold00"], ["fold01"], ["fold02"], ["fold03"]]
    assert loaded.rounds[0][:2] == (["fold02", "fold03"], ["fold01"])
    # Splits are shuffled in the order of the metadata.
    assert list(loaded.kit_order) == ["fold03", "fold02", "fold01", "fold00"]


def test_a_metric_that_the_task_names_and_we_lack_is_skipped_with_a_warning(tmp_path, capsys):
    """FSD50K lists top1_acc although a clip has several labels; hear-eval-kit computes it."""
    task, embed = scene_task(
        tmp_path, *TRAINVALTEST, ("mAP", "top1_acc", "pitch_acc", "lwlrap"), prediction="multilabel"
    )
    result = evaluated(tmp_path, task, embed, "--probe_mode", "linear", "--quick", "true")
    assert list(result["scores"]) == ["mAP", "top1_acc"]
    assert (
        "skipped metric(s) pitch_acc, lwlrap, not supported for a multilabel clip task; using mAP, top1_acc"
        in capsys.readouterr().err
    )
    edit(task / "task_metadata.json", lambda meta: meta.update(evaluation=["lwlrap"]))
    assert load_hear_task(task, embed).metrics == ("mAP", "aucroc", "d_prime")
    assert "using the default metrics of its kind" in capsys.readouterr().err


def test_labels_of_test_that_train_lacks_are_told_in_the_result(tmp_path, capsys):
    task, embed = scene_task(tmp_path, *TRAINVALTEST)
    (task / "labelvocabulary.csv").write_bytes(
        "\ufeff".encode()
        + (task / "labelvocabulary.csv").read_bytes()
        + b"9,wolf\n".replace(b"9", str(len(LABELS)).encode())
    )
    edit(task / "test.json", lambda found: found.update({"test_00.wav": ["wolf"]}))
    result = evaluated(tmp_path, task, embed, "--probe_mode", "linear", "--quick", "true")
    assert result["meta"]["notes"] == [
        "1 class(es) of test are in neither train nor valid, no probe can learn them: wolf"
    ]
    assert "note: t: 1 class(es) of test are in neither" in capsys.readouterr().err


def test_a_test_split_without_any_event_is_refused(tmp_path, capsys):
    task, embed = event_task(tmp_path, *TRAINVALTEST)
    edit(task / "test.json", lambda found: [found.update({name: []}) for name in found])
    assert evaluated(tmp_path, task, embed) == 2
    assert "no file of the test split has an event, so scores would be meaningless" in capsys.readouterr().err
