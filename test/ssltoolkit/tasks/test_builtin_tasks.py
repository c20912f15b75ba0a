"""The registered tasks, the checks of their base classes, and metrics that are not proportions."""

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "evaluation"))

from embedding_corpus import LABELS, clip_corpus  # noqa: E402

from ssltoolkit.data.lists import write_task
from ssltoolkit.errors import ConfigError, UserError
from ssltoolkit.evaluation.evaluator import evaluate_rounds, scores_of
from ssltoolkit.evaluation.metric import Metric
from ssltoolkit.evaluation.metrics import MEAN_AP, TOP1_ACC
from ssltoolkit.evaluation.probe_config import probe_config
from ssltoolkit.evaluation.statistics import Counted, compare, confidence_interval
from ssltoolkit.evaluation.store import KINDS
from ssltoolkit.evaluation.task import build_task, task_of
from ssltoolkit.evaluation.task_loading import load_task
from ssltoolkit.registry import REGISTRY, Component, available
from ssltoolkit.tasks import ClassTask, LabelTable, SceneTask, SquaredError

ERROR = Metric("error", "error (BPM) ↓", "positive", higher_is_better=False)


@pytest.mark.parametrize("name", available("task"))
def test_a_task_says_what_it_reads_and_measures(name):
    task = build_task(name)
    names = [metric.name for metric in task.metrics]
    assert (
        task.embedding in KINDS and task.labels.file and task.labels.columns and names and len(set(names)) == len(names)
    )
    for metric in task.metrics:
        assert metric.heading.endswith("↓") != metric.higher_is_better and task.metric(metric.name) is metric


def test_a_metric_of_another_version_stands_for_itself():
    metric = build_task("clip").metric("top5_acc")
    assert (metric.name, metric.heading, metric.values) == ("top5_acc", "top5_acc", "share")


def test_an_option_of_another_task_is_refused():
    with pytest.raises(
        ConfigError, match=r"--task\.psds: task 'clip' has no parameter 'psds' \(parameters: label_kind\)"
    ):
        build_task("clip", {"psds": True})
    with pytest.raises(
        ConfigError, match=r"--task\.median_filter_ms: expected Optional\[Sequence\[float\]\], got 'wide'"
    ):
        build_task("sed", {"median_filter_ms": "wide"})


def test_a_result_of_a_task_that_is_not_loaded_names_what_to_give():
    with pytest.raises(
        UserError, match=r"r\.json: no task 'tempo' is registered; load the plugin that defines it with --plugins"
    ):
        task_of({"task": "tempo", "path": "r.json"})


def test_shares_are_printed_in_per_cent_and_other_numbers_as_they_are():
    assert Metric("a", "a").printed(0.1234) == "12.3" and ERROR.printed(4.5) == "4.500"
    with pytest.raises(ValueError, match="values must be one of share, positive, real, got 'rate'"):
        Metric("a", "a", "rate")


def test_an_error_above_one_has_an_interval_around_it():
    errors = np.random.default_rng(0).exponential(8.0, (3, 200, 1))
    low, high = confidence_interval([Counted(ERROR, errors)])
    assert 6 < low < errors.mean() < high < 10


def test_errors_in_small_units_are_compared_in_these():
    """The variance added for correct and incorrect files would hide differences of milliseconds."""
    errors = np.random.default_rng(1).exponential(0.001, (1, 100, 1))
    found = compare([Counted(ERROR, errors + 0.0005)], [Counted(ERROR, errors)])
    assert found.difference == pytest.approx(0.0005) and np.diff(found.ci95)[0] < 0.0001 and found.p_value < 0.01


class Mood(ClassTask):
    """A task whose classes are in its own table."""

    labels = LabelTable(
        "utt2mood", "mood", lambda value: None if value.isalpha() else "the mood must be a word", classes=True
    )
    metrics = (TOP1_ACC, MEAN_AP)


class Loudness(SceneTask):
    """A task with numbers as targets."""

    labels = LabelTable("utt2mood", "mood", lambda value: None)
    metrics = (ERROR,)

    def targets(self, labels, data):
        return np.array([[float(LABELS.index(word))] for (word,) in labels], dtype=np.float32)

    def loss(self, data):
        return SquaredError()

    def measure(self, metric, predictions, targets, data):
        return np.abs(predictions - targets)[:, 0]


@pytest.fixture
def corpus(tmp_path):
    """Embeddings of three classes, with the labels in utt2mood."""
    clip_corpus(tmp_path, noise=0.3)
    for path in tmp_path.glob("data/*/utt2label"):
        path.rename(path.with_name("utt2mood"))
    return tmp_path


@pytest.fixture
def load(corpus, monkeypatch):
    """load(Class): register the task and return its data."""

    def call(cls):
        monkeypatch.setitem(REGISTRY._components["task"], "own", Component("task", "own", cls))
        monkeypatch.setattr(cls, "registered_name", "own", raising=False)
        return load_task("own", corpus / "embed", corpus / "data")

    return call


def test_a_task_with_classes_needs_a_label_file_and_metrics_only(load):
    data = load(Mood)
    assert data.vocabulary == list(LABELS) and not data.multilabel and data.metrics == ("top1_acc", "mAP")
    scores = scores_of(data, evaluate_rounds(data, probe_config("knn"), [0]))
    assert scores["top1_acc"]["mean"] > 0.8 and scores["mAP"]["mean"] > 0.8


def test_a_value_that_the_table_refuses_is_named_with_its_line(load, corpus):
    path = corpus / "data/valid/utt2mood"
    path.write_text(path.read_text().replace("valid003 bell", "valid003 b3ll"))
    with pytest.raises(UserError, match=r"valid/utt2mood:4: the mood must be a word, got 'b3ll'"):
        load(Mood)


@pytest.mark.parametrize(
    "row, message",
    [
        ("c.wav\tsad\ttest", r"list.tsv:5: 1 mood\(s\) of test are in neither train nor valid \(sad\)"),
        ("a.wav\tglad\ttrain", r"list.tsv:5: .*a.wav is listed twice; keep one row$"),
    ],
)
def test_a_list_of_classes_is_refused_before_training(load, tmp_path, row, message):
    load(Mood)
    rows = ["path\tmood\tsplit", "a.wav\tglad\ttrain", "b.wav\tglad\tvalid", "d.wav\tglad\ttest", row]
    for name in "abcd":
        (tmp_path / f"{name}.wav").touch()
    (tmp_path / "list.tsv").write_text("\n".join([*rows, ""]))
    with pytest.raises(UserError, match=message):
        write_task(tmp_path / "list.tsv", "own", tmp_path / "task")


def test_numbers_are_trained_with_a_squared_error(load):
    data = load(Loudness)
    config = probe_config(quick=True)
    (result,) = evaluate_rounds(data, config, [0])
    right = result.split.targets[:, 0]
    assert result.counts["error"].mean() < 0.7 * np.abs(right - np.median(right)).mean()


@pytest.mark.parametrize("name, value, message", [
    ("targets", lambda self, labels, data: np.zeros(3), r"targets\(\) of Broken returned float64 \(3,\) for 48 "
                                                             r"files; expected"),
    ("measure", lambda self, metric, p, t, data: np.abs(p - t), r"measure\(\) of Broken returned float32 \(24, 1\) for "
                                                                r"'error' of 24 files; return a NumPy array \(24,\)"),
    ("measure", lambda self, metric, p, t, data: p[:, 0] / 0 * np.inf, r"error of 24 file\(s\) is not finite, the "
                                                                       r"first is 'test000'"),
])  # fmt: skip
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_what_a_task_gives_wrongly_is_told(load, name, value, message):
    broken = type("Broken", (Loudness,), {name: value})
    with pytest.raises(UserError, match=r"task 'own': " + message):
        evaluate_rounds(load(broken), probe_config("knn"), [0])
