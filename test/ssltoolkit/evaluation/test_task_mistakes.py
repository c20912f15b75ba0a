"""Mistakes in a task of a plugin file: one line that names task, class, method, file and fix, and exit status 2."""

import itertools

import pytest
from embedding_corpus import clip_corpus

from ssltoolkit.bin.main import main
from ssltoolkit.registry import REGISTRY, available

PLUGIN = '''
import numpy as np

from ssltoolkit.registry import register
from ssltoolkit.tasks import (
    BinaryCrossEntropy, ClassTask, CrossEntropy, LabelTable, Metric, ProbeLoss, SceneTask, SquaredError
)

ERROR = Metric("error", "error", "positive", higher_is_better=False)


class Own(SquaredError):
    """A squared error of one's own."""

    def gradient(self, outputs, targets, scratch):
        return outputs.sub_(targets).mul_(2.0 / outputs.shape[1])


@register("task", "NAME")
class Loudness(SceneTask):
    """Number of letters of a label."""

    labels = LabelTable("utt2label", "label", lambda value: None)
    metrics = (ERROR,)

    def targets(self, labels, data):
        return np.array([[len(word) / 4] for (word,) in labels], dtype=np.float32)

    def loss(self, data):
        return SquaredError()

    def measure(self, metric, predictions, targets, data):
        return np.abs(predictions - targets)[:, 0]

    def pictures(self, result, arrays, folder):
        return []
'''
LOSS = "return SquaredError()"
MEASURE = "return np.abs(predictions - targets)[:, 0]"
TARGETS = "return np.array([[len(word) / 4] for (word,) in labels], dtype=np.float32)"
NAMES = (f"loudness{number}" for number in itertools.count())


@pytest.fixture
def evaluate(tmp_path, capsys):
    """evaluate((old, new), ...): evaluate the task above with these changes; (status, stderr, plugin)."""
    corpus = clip_corpus(tmp_path)

    def run(*changes):
        name, text = next(NAMES), PLUGIN
        for old, new in changes:
            assert text.count(old) == 1, old
            text = text.replace(old, new)
        plugin = tmp_path / f"{name}.py"
        plugin.write_text(text.replace("NAME", name))
        command = ["evaluate", "--task", name, "--plugins", plugin, "--embed_dir", corpus / "embed", "--data_dir"]
        command += [corpus / "data", "--output", tmp_path / "results/m/loud.json", "--quick", "true", "--seeds", "0"]
        status = main([str(part) for part in command])
        return status, capsys.readouterr().err, plugin

    assert available("task")  # imports the built-in ones
    registered = dict(REGISTRY._components["task"])
    yield run
    REGISTRY._components["task"] = registered


def line_of(plugin, text):
    return next(number for number, line in enumerate(plugin.read_text().splitlines(), 1) if text in line)


def test_the_task_without_mistakes(evaluate):
    assert evaluate()[0] == 0
    assert evaluate((LOSS, "return Own()"))[0] == 0


@pytest.mark.parametrize(
    "old, new, method, told",
    [
        (MEASURE, "pass", "measure", "returned None for 'error' of 24 files; return a NumPy array (24,) of numbers"),
        (MEASURE, "return 0.5", "measure", "returned float for 'error' of 24 files; return a NumPy array (24,)"),
        (MEASURE, "return predictions", "measure", "returned float32 (24, 1) for 'error' of 24 files; return a NumPy"),
        (MEASURE, "return np.array(['a'] * 24)", "measure", "returned <U1 (24,) for 'error' of 24 files; return a"),
        (LOSS, "SquaredError()", "loss", "returned None; return a ProbeLoss, such as SquaredError()"),
        (LOSS, "return SquaredError", "loss", "returned the class SquaredError; return a ProbeLoss, such as SquaredErr"),
        (LOSS, "return CrossEntropy()", "loss",
         "returned CrossEntropy, which needs class indices (F,), but the targets are float32 (48, 1); use SquaredError"),
        (LOSS, "return BinaryCrossEntropy()", "loss",
         "returned BinaryCrossEntropy, which needs whole numbers, but the targets are float32 (48, 1); use SquaredErr"),
        (TARGETS, "return np.array([len(word) for (word,) in labels])", "targets",
         "returned class indices, but the task has no classes; derive it from ClassTask, or return numbers (F, C)"),
        (TARGETS, "return np.zeros(3)", "targets", "returned float64 (3,) for 48 files; expected (F, C) numbers or"),
    ],
)  # fmt: skip
def test_a_result_of_another_kind(evaluate, old, new, method, told):
    status, said, plugin = evaluate((old, new))
    where = f"task '{plugin.stem}': {method}() of Loudness ({plugin}:{line_of(plugin, f'    def {method}(self')})"
    assert status == 2 and f"error: {where} {told}" in said and said.count("\n") == 1, said


CLASSES = ("class Loudness(SceneTask)", "class Loudness(ClassTask)")


@pytest.mark.parametrize(
    "changes, told",
    [
        ([CLASSES], "returned SquaredError, which needs one target for each of the 3 classes, but the targets are "),
        (
            [CLASSES, (TARGETS, "return np.array([len(word) for (word,) in labels])")],
            "returned SquaredError, which needs targets (F, C), but the targets are int64 (48,); use CrossEntropy() for",
        ),
        (
            [
                CLASSES,
                (TARGETS, "return np.array([len(word) for (word,) in labels])"),
                (LOSS, "return CrossEntropy()"),
            ],
            "returned CrossEntropy, which needs targets from 0 to 2, but they are from 3 to 4",
        ),
        (
            [(TARGETS, TARGETS.replace(" / 4", "")), (LOSS, "return BinaryCrossEntropy()")],
            "returned BinaryCrossEntropy, which needs targets from 0 to 1, but they are from 3 to 4",
        ),
        (
            [(LOSS, "return Own()"), ("return outputs.sub_", "outputs.sub_")],
            "returned Own, whose gradient() gives None, expected (1, 2, 1)",
        ),
    ],
)
def test_a_loss_that_does_not_fit_the_targets(evaluate, changes, told):
    status, said, plugin = evaluate(*changes)
    assert status == 2 and said.count("\n") == 1, said
    assert f"loss() of Loudness ({plugin}:{line_of(plugin, '    def loss')}) {told}" in said, said


@pytest.mark.parametrize(
    "old, new, method",
    [
        (MEASURE, "return predictionz", "measure() of Loudness"),
        (LOSS, "return Squared_Error()", "loss() of Loudness"),
        (TARGETS, "return np.array(labelz)", "targets() of Loudness"),
        (LOSS, "return Own().no_such_method()", "loss() of Loudness"),
        ("lambda value: None", "lambda value: value.no_such_method()", "<lambda>()"),
    ],
)
def test_an_exception_names_the_plugins_line(evaluate, old, new, method):
    status, said, plugin = evaluate((old, new))
    assert status == 2 and said.count("\n") == 1, said
    assert f"error: task '{plugin.stem}': {method} failed at {plugin}:{line_of(plugin, new)}: " in said, said
    assert "Error: " in said and said.endswith("; correct this line (SSLTOOLKIT_TRACEBACK=1 shows the traceback)\n")


@pytest.mark.parametrize(
    "old, new, told",
    [
        ("    def measure(", "    def measures(", "has no measure(); write it into Loudness"),
        ("    metrics = (ERROR,)\n", "", "has no metrics; write metrics = (Metric(...),) into it"),
        (
            "    labels = LabelTable(",
            "    table = LabelTable(",
            "has no labels; write labels = LabelTable(...)",
        ),
    ],
)
def test_a_task_that_lacks_a_part(evaluate, old, new, told):
    status, said, _ = evaluate((old, new))
    assert status == 2 and told in said and said.count("\n") == 1, said


@pytest.mark.parametrize(
    "new, told",
    [
        ("return picturez", "failed at {plugin}:{line}: NameError: name 'picturez' is not defined; correct this line"),
        ("pass", "returned None; return a list of Picture"),
    ],
)
def test_pictures_that_fail_leave_the_report(evaluate, tmp_path, capsys, new, told):
    status, _, plugin = evaluate(("return []", new))
    assert status == 0
    command = ["report", "--plugins", plugin, "--results", tmp_path / "results", "--output", tmp_path / "report"]
    assert main([str(part) for part in command]) == 0
    warnings = [line for line in capsys.readouterr().err.splitlines() if line.startswith("warning: ")]
    told = told.format(plugin=plugin, line=line_of(plugin, new))
    assert len(warnings) == 1 and warnings[0].startswith(f"warning: task '{plugin.stem}': pictures() of Loudness ")
    assert told in warnings[0] and warnings[0].endswith("; the report lacks these pictures")
    assert "loud" in (tmp_path / "report/report.html").read_text()
