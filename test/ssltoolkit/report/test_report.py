"""The report program: figures and the self-contained page."""

import contextlib
import html.parser
import io
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
from matplotlib import image

from ssltoolkit import command_line
from ssltoolkit.bin import report
from ssltoolkit.errors import UserError
from ssltoolkit.evaluation.event_metrics import f_measure
from ssltoolkit.evaluation.results import load_arrays, read_result
from ssltoolkit.report import audio, plots_confusion, plots_embeddings, plots_sed, plots_training

EXPECTED = [
    "confusion_scenes_good.png", "label_efficiency.png", "map_notes_good.png", "map_scenes_good.png",
    "pitches_notes_good.png", "scores.png", "similarity_events_good.png", "timeline_events_good_best.png",
    "timeline_events_good_median.png", "timeline_events_good_worst.png", "training.png",
]  # fmt: skip


@pytest.fixture(scope="module")
def written(measured, train_log, tmp_path_factory):
    """The output folder of one run, and what it printed."""
    output, printed = tmp_path_factory.mktemp("written"), io.StringIO()
    arguments = ["--results", measured / "results", "--output", output, "--exp_dirs", train_log]
    with contextlib.redirect_stdout(printed):
        assert command_line.run(report.main, [str(argument) for argument in arguments]) == 0
    return output, printed.getvalue()


class Tags(html.parser.HTMLParser):
    """Collect tags, and whether they are closed in order."""

    VOID = ("meta", "link", "img")

    def __init__(self):
        super().__init__()
        self.seen, self.open = [], []

    def handle_starttag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_everything_is_written(written):
    output, printed = written
    assert sorted(path.name for path in (output / "pictures").iterdir()) == EXPECTED
    assert "accuracy (%)" in printed and "good" in printed and (output / "RESULTS.md").is_file()
    for path in (output / "pictures").iterdir():
        pixels = image.imread(path)
        assert pixels.shape[1] == 1200 and 300 <= pixels.shape[0] <= 2500, path.name
        assert pixels[..., :3].std() > 0.02, f"{path.name} is blank"


def test_the_page_needs_nothing_from_outside(written):
    page = (written[0] / "report.html").read_text(encoding="utf-8")
    tags = Tags()
    tags.feed(page)
    assert not tags.open and not any(tag in ("script", "iframe", "object") for tag, _ in tags.seen)
    pictures = [attrs for tag, attrs in tags.seen if tag == "img"]
    assert len(pictures) == len(EXPECTED)
    assert all(attrs["src"].startswith("data:image/png;base64,") and attrs["alt"] for attrs in pictures)
    outside = re.sub(r"data:image/png;base64,[A-Za-z0-9+/=]+", "", page)
    assert not re.search(r"(https?:)?//[a-z]", re.sub(r"<pre>.*?</pre>", "", outside, flags=re.S))
    assert not re.search(r"url\(|@import", outside)


@pytest.mark.skipif(
    not any(map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), reason="no Chromium on this machine"
)
def test_the_page_opens_in_a_browser_without_errors(written, tmp_path):
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))))
    command = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--v=0"]
    command += [f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", (written[0] / "report.html").as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and done.stdout.count("<img") == len(EXPECTED) and "CONSOLE" not in done.stderr


def test_tables_alone_load_neither_matplotlib_nor_torch(measured, tmp_path):
    code = (
        "import sys; from ssltoolkit.bin import report\n"
        f"options = ['--results', {str(measured / 'results')!r}, '--output', {str(tmp_path)!r}]\n"
        "report.main([*options, '--pictures', 'false'])\n"
        "assert not {'matplotlib', 'torch'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)
    assert (tmp_path / "RESULTS.md").is_file() and not (tmp_path / "report.html").exists()


def test_best_median_and_worst_files_are_what_they_say(measured):
    arrays = load_arrays(read_result(measured / "results" / "poor" / "events.json"))
    metric = "event_onset_200ms_fms"
    scores = f_measure(arrays[f"counts:{metric}"][0])
    chosen = {which: score for which, _, score in plots_sed.chosen_files(arrays, metric)}
    assert chosen["best"] == scores.max() and chosen["worst"] == scores.min()
    assert chosen["median"] == pytest.approx(np.sort(scores)[::-1][len(scores) // 2])


def test_confusion_rows_are_shares(measured):
    arrays = load_arrays(read_result(measured / "results" / "poor" / "scenes.json"))
    share = plots_confusion.confusion(arrays, np.arange(3))
    np.testing.assert_allclose(share.sum(axis=1), 1.0)
    right = arrays["probabilities"].argmax(2) == arrays["targets"]
    assert share[1, 1] == pytest.approx(right[:, arrays["targets"] == 1].mean())


def test_confusion_of_pitches_leaves_missing_rows_empty():
    arrays = {"probabilities": np.eye(2)[None], "targets": np.array([0, 1])}
    share = plots_confusion.confusion(arrays, np.array([0, 3]))
    assert share.shape == (4, 4) and share[0, 0] == share[3, 3] == 1 and share.sum() == 2


@pytest.mark.parametrize("midi, name", [(60, "C4"), (69, "A4"), (21, "A0"), (61, "C♯4")])
def test_note_names(midi, name):
    assert plots_confusion.note_name(midi) == name


def test_the_spectrogram_shows_a_tone_where_it_is():
    time = np.arange(16000) / 16000
    decibel, extent = audio.spectrogram(np.sin(2 * np.pi * 2000 * time).astype(np.float32), 16000)
    peak = decibel[:, 50].argmax() / (decibel.shape[0] - 1) * extent[3]
    assert peak == pytest.approx(2.0, abs=0.05) and decibel.max() == 0 and extent[1] == pytest.approx(1.0, abs=0.02)


def test_a_picture_is_drawn_although_audio_and_embeddings_are_gone(measured, tmp_path):
    result = read_result(measured / "results" / "good" / "events.json")
    result["meta"] = {**result["meta"], "data_dir": str(tmp_path / "gone"), "embed_dir": str(tmp_path / "gone")}
    arrays = load_arrays(result)
    assert len(plots_sed.timelines(result, arrays, tmp_path)) == 3
    assert plots_embeddings.self_similarity(result, arrays, "event_onset_200ms_fms", tmp_path) == []


def test_training_panels_put_the_total_first(train_log):
    logs = {"experiment": plots_training.read_log(train_log / "train_log.jsonl")}
    assert plots_training.panels(logs) == ["loss", "clip/loss", "pitch/loss", "effective_rank", "clips_per_s"]
    steps, values = logs["experiment"]["valid"]["loss"]
    assert steps.tolist() == [0, 25, 50, 75] and values[0] == 4.0


def test_a_broken_log_and_a_missing_one_are_named(train_log, tmp_path):
    broken = tmp_path / "train_log.jsonl"
    broken.write_text((train_log / "train_log.jsonl").read_text() + '{"step": 3\n')
    with pytest.raises(UserError, match=r"train_log\.jsonl:25: expected a JSON object"):
        plots_training.read_log(broken)
    with pytest.raises(UserError, match="no train_log.jsonl"):
        plots_training.training_curves([tmp_path / "nowhere"], tmp_path)
