"""The tables: rows, order, best of a column, differences and provenance."""

import json
import shutil

import pytest

from ssltoolkit.errors import UserError
from ssltoolkit.evaluation.event_metrics import SED_METRICS
from ssltoolkit.evaluation.metrics import TOP1_ACC
from ssltoolkit.evaluation.statistics import Comparison
from ssltoolkit.report import tables
from ssltoolkit.report.collect import collect

ERROR_RATE = SED_METRICS[-1]


@pytest.fixture
def results(measured):
    return collect(measured / "results")


def test_one_row_a_model_and_one_column_a_metric(results):
    rows = tables.summary_rows(results)
    assert [row[0] for row in rows] == ["model", "good", "poor"]
    assert rows[0][1:3] == ["scenes: accuracy (%)", "tags: mAP (%)"] and len(rows[0]) == 1 + 1 + 3 + 4 + 2
    assert rows[0][-1] == "notes: chroma acc. (%)" and all("±" in text for text in rows[1][1:])


def test_one_seed_has_no_deviation():
    score = {"mean": 0.5, "per_seed": [0.5], "ci95": [0.4, 0.6]}
    assert tables.cell(TOP1_ACC, score) == "50.0 [40.0, 60.0]"
    assert tables.cell(TOP1_ACC, {**score, "per_seed": [0.4, 0.6]}) == "50.0 ± 14.1 [40.0, 60.0]"


def test_the_best_mean_is_bold_and_a_lower_error_rate_is_better(results):
    rows = tables.score_rows(results, "events")
    assert rows[0][2] == "error rate 1 s ↓"
    assert rows[1][2].startswith("**0.") and not rows[2][2].startswith("**")
    low, high = results.score("good", "events", "segment_1s_er")["ci95"]
    assert rows[1][2].endswith(f"[{low:.3f}, {high:.3f}]**")


def test_models_can_be_chosen_and_ordered(measured):
    assert collect(measured / "results", ["poor", "good"]).models == ["poor", "good"]
    with pytest.raises(UserError, match="--models other: no results"):
        collect(measured / "results", ["other"])


def test_differences_are_model_minus_reference(results):
    found = tables.differences(results, "poor")
    assert set(key[0] for key in found) == {"good"}
    assert found["good", "scenes", "top1_acc"].difference == pytest.approx(
        results.score("good", "scenes", "top1_acc")["mean"] - results.score("poor", "scenes", "top1_acc")["mean"]
    )
    with pytest.raises(UserError, match="--reference other: no such model; there are good, poor"):
        tables.differences(results, "other")


def test_difference_cells_show_sign_interval_and_p():
    assert tables.difference_cell(TOP1_ACC, Comparison(0.1, (-0.02, 0.2), 0.04)) == "+10.0 [−2.0, 20.0], p = 0.040"
    for replicates, text in ((1000, "p ≤ 0.002"), (100, "p ≤ 0.020"), (3000, "p ≤ 0.001")):
        found = Comparison(-0.1, (-0.2, -0.1), 2 / (1 + replicates), replicates)
        assert tables.difference_cell(ERROR_RATE, found) == f"−0.100 [−0.200, −0.100], {text}"


def test_the_text_names_command_data_seeds_and_versions(results):
    text = tables.results_markdown(results, "poor", tables.differences(results, "poor"), "ssltoolkit report --x y")
    for expected in (
        "ssltoolkit report --x y",
        "ssltoolkit evaluate --task clip",
        "seeds 0, 1",
        "torch ",
        "probe standard, quick",
    ):
        assert expected in text
    assert "Difference to poor:" in text and "| good | scenes | accuracy (%) | 20 % |" in text
    detected = [line.split(" | ")[1:] for line in text.splitlines() if line.startswith(f"| {tables.DETECTABLE} |")]
    assert len(detected) == len(results.tasks) and all(float(row[0].rstrip(" |")) > 0 for row in detected)
    for line in text.splitlines():
        if line.startswith("|---"):
            assert set(line) == {"|", "-"}


def test_every_table_row_has_as_many_cells_as_its_heading(results):
    for task in results.tasks:
        rows = tables.score_rows(results, task)
        assert len({len(row) for row in rows}) == 1


def test_a_task_that_one_model_lacks_shows_a_dash(measured, tmp_path):
    shutil.copytree(measured / "results", tmp_path / "results")
    (tmp_path / "results" / "poor" / "notes.json").unlink()
    results = collect(tmp_path / "results")
    assert tables.score_rows(results, "notes")[2] == ["poor", "–", "–"]
    assert len(tables.difference_rows(results, tables.differences(results, "poor"), "notes")) == 1
    assert "–" in tables.plain(results)


def test_two_results_of_one_model_and_task_are_refused(measured, tmp_path):
    shutil.copytree(measured / "results", tmp_path / "results")
    path = tmp_path / "results" / "good" / "again.json"
    content = json.loads((tmp_path / "results" / "good" / "notes.json").read_text())
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match="a second result of model 'good' on 'notes'"):
        collect(tmp_path / "results")


def test_an_empty_folder_says_what_to_run(tmp_path):
    with pytest.raises(UserError, match="run ssltoolkit evaluate first"):
        collect(tmp_path)
