"""explore/: measurements, neighbours and search find similar sounds; bad input gives one line or a working page."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

from ssltoolkit import command_line
from ssltoolkit.bin import explore as explore_program
from ssltoolkit.bin import search as search_program
from ssltoolkit.errors import DataError
from ssltoolkit.explore import search, vectors
from ssltoolkit.explore.collect import SHARD
from ssltoolkit.explore.labels import read_labels
from ssltoolkit.explore.measure import THUMB, Windows, pitch_of, pooled, thumbnail, window_seconds
from ssltoolkit.explore.page import script

from .conftest import tone


def data_of(folder):
    text = (folder / "data/sounds.js").read_text(encoding="utf-8")
    assert text.startswith("window.SOUNDS = ") and text.endswith(";\n") and "<" not in text
    return json.loads(text[len("window.SOUNDS = ") : -2])


def test_pitch_and_its_absence(make_waves):
    time = np.arange(16000) / 16000
    for hz in (82.4, 220.0, 440.0, 880.0):
        wave = sum(np.sin(2 * np.pi * k * hz * time) / k for k in range(1, 6)).astype(np.float32)
        assert abs(12 * np.log2(pitch_of(wave, 16000) / hz)) < 0.6, hz
    drum = np.exp(-5 * time) * np.sin(2 * np.pi * 60 * time)  # autocorrelation near lag 0 is as high as at one period
    assert abs(12 * np.log2(pitch_of(drum.astype(np.float32), 16000) / 60)) < 0.6
    assert np.isnan(pitch_of(np.random.default_rng(0).standard_normal(16000).astype(np.float32), 16000))
    assert np.isnan(pitch_of(np.zeros(16000, np.float32), 16000)) and np.isnan(pitch_of(np.ones(10, np.float32), 16000))


def test_windows_are_means_and_cover_the_sound():
    frames = np.arange(50, dtype=np.float32)[:, None] * np.ones((1, 3), np.float32)
    windows = pooled(frames, 40.0)
    assert windows.dtype == np.float16 and windows[0, 0] == 5.5 and windows[1, 0] == 11.5
    assert 6 * (len(windows) - 1) + 12 >= 50
    assert pooled(frames[:1], 40.0).shape == (1, 3)


@pytest.mark.parametrize("hop_ms", [10.0, 40.0, 320.0])
def test_windows_of_stretches_are_those_of_the_whole(hop_ms):
    rng = np.random.default_rng(0)
    for count in (1, 5, 6, 7, 11, 12, 13, 17, 18, 19, 24, 200):
        frames = rng.standard_normal((count, 3)).astype(np.float32)
        windows = Windows(hop_ms)
        for stretch in np.split(frames, np.sort(rng.integers(0, count + 1, 3))):
            windows.take(stretch)
        np.testing.assert_allclose(windows.all(), pooled(frames, hop_ms), atol=2e-3)


def test_thumbnails_show_frequency_upwards():
    time = np.arange(32000) / 16000
    low, high = (thumbnail(np.sin(2 * np.pi * hz * time).astype(np.float32)) for hz in (200, 4000))
    assert low.shape == THUMB[::-1] and low.sum(1).argmax() > high.sum(1).argmax()
    assert thumbnail(np.zeros(3, np.float32)).max() == 0


@pytest.mark.parametrize("block", [3, 4096])
def test_neighbours_are_exact(monkeypatch, block):
    monkeypatch.setattr(vectors, "_BLOCK", block)
    given = np.random.default_rng(0).standard_normal((40, 8)).astype(np.float32)
    given /= np.linalg.norm(given, axis=1, keepdims=True)
    given[7] = given[3]
    places, cosines = vectors.neighbours(given, 5)
    scores = given @ given.T
    np.fill_diagonal(scores, -9)
    np.testing.assert_allclose(cosines, -np.sort(-scores, axis=1)[:, :5], rtol=1e-5)
    assert places[7, 0] == 3 and places[3, 0] == 7 and not (places == np.arange(40)[:, None]).any()
    assert vectors.duplicates(places, cosines, 0.999) == [(3, 7, pytest.approx(1.0, abs=1e-6))]
    assert vectors.outliers(cosines, 3)[0] == cosines.mean(1).argmin()


@pytest.mark.parametrize("count", [1, 2, 5])
def test_few_sounds_are_as_alike_as_their_embeddings(count):
    rng = np.random.default_rng(1)
    given = rng.standard_normal((count, 1000)).astype(np.float32)
    given[-1] = 0.9 * given[0] + 0.4 * given[-1]
    space = vectors.fit_space(given, 256)
    other = rng.standard_normal((1, 1000)).astype(np.float32)
    for one, two in ((given, given), (other, given)):
        wanted = one @ two.T / np.linalg.norm(one, axis=1)[:, None] / np.linalg.norm(two, axis=1)
        np.testing.assert_allclose(space.vectors(one) @ space.vectors(two).T, wanted, atol=0.2)


def test_clusters_and_their_medoids():
    rng = np.random.default_rng(0)
    points = np.concatenate([rng.normal((x, 0), 0.1, (60, 2)) for x in (0, 5, 10)])
    found = vectors.clusters(points)
    assert set(found[found >= 0]) == {0, 1, 2}
    for label, medoid in enumerate(vectors.medoids(points.astype(np.float32), found)):
        assert found[medoid] == label


def test_the_page_holds_every_sound(explored, sounds):
    data = data_of(explored)
    names = sorted(str(path.relative_to(sounds)) for path in sounds.rglob("*.wav") if path.name != "broken.wav")
    assert sorted(data["paths"]) == names and data["leftOut"] == 1
    assert (explored / "left_out.tsv").read_text().startswith("path\treason\nodd/broken.wav\t")
    place = data["paths"].index
    assert data["near"][place("low/again.wav")][0] == place("low/tone0.wav")
    assert [sorted((place("low/again.wav"), place("low/tone0.wav"))), 1.0] == [
        sorted(data["duplicates"][0][:2]),
        pytest.approx(data["duplicates"][0][2], abs=0.02),
    ]
    assert data["labels"][place("low/tone3.wav")] == "deep" and data["labels"][place("high/tone3.wav")] == ""
    assert abs(12 * np.log2(data["pitch"][place("low/tone0.wav")] / 110)) < 0.6
    assert min(data["x"] + data["y"]) == 0 and max(data["x"] + data["y"]) == 1
    html = (explored / "index.html").read_text()
    assert "http:" not in html and "https:" not in html and (explored / "data/thumbs0.jpg").is_file()


def test_names_cannot_end_the_script():
    text = script("X", ["</script><script>", "\u2028", '"\\'])
    assert (
        "<" not in text
        and "\u2028" not in text
        and json.loads(text[len("window.X = ") : -2]) == ["</script><script>", "\u2028", '"\\']
    )


def test_a_stopped_run_goes_on(sounds, explored, tmp_path, monkeypatch):
    from ssltoolkit.explore import measure
    from ssltoolkit.explore.program import explore

    folder = tmp_path / "explorer"
    shutil.copytree(explored / "cache", folder / "cache")
    monkeypatch.setattr(measure, "read_audio", lambda path: pytest.fail(f"{path} is measured again"))
    explore(str(sounds), str(folder), kind="pca", jobs=1)
    assert data_of(folder)["paths"] == data_of(explored)["paths"]
    shard = folder / "cache/shard.00000.npz"
    shard.write_bytes(shard.read_bytes()[:1000])
    monkeypatch.undo()
    explore(str(sounds), str(folder), kind="pca", jobs=1)
    first, second = data_of(explored), data_of(folder)
    assert [first[key] for key in ("x", "y", "near", "cosines")] == [
        second[key] for key in ("x", "y", "near", "cosines")
    ]


def test_only_new_sounds_are_measured(sounds, explored, tmp_path, monkeypatch):
    from ssltoolkit.explore import measure
    from ssltoolkit.explore.program import explore

    shutil.copytree(sounds, tmp_path / "sounds")
    shutil.copytree(explored / "cache", tmp_path / "explorer/cache")
    (tmp_path / "sounds/low/tone1.wav").unlink()
    soundfile.write(tmp_path / "sounds/low/tone2.wav", np.full(9999, 0.5), 16000)
    soundfile.write(tmp_path / "sounds/a first one.wav", 0.1 * np.random.default_rng(7).standard_normal(9000), 16000)
    (tmp_path / "sounds/odd/broken.wav").write_bytes(b"RIFF still no audio")
    read, plain = [], measure.read_audio
    monkeypatch.setattr(measure, "read_audio", lambda path: read.append(path) or plain(path))
    explore(str(tmp_path / "sounds"), str(tmp_path / "explorer"), kind="pca", jobs=1)
    assert sorted(path.split("/")[-1] for path in read) == ["a first one.wav", "broken.wav", "tone2.wav"]
    found = data_of(tmp_path / "explorer")
    assert found["paths"] == sorted(set(data_of(explored)["paths"]) - {"low/tone1.wav"} | {"a first one.wav"})
    place = found["paths"].index
    assert found["near"][place("low/again.wav")][0] == place("low/tone0.wav") and found["leftOut"] == 1
    assert found["seconds"][place("low/tone2.wav")] == pytest.approx(9999 / 16000, abs=1e-3)
    explore(str(tmp_path / "sounds"), str(tmp_path / "anew"), kind="pca", jobs=1)
    assert data_of(tmp_path / "anew") == found


SLOW = """
import os, sys, time
from ssltoolkit.explore import measure
plain = measure.measure
def slow(path, model):
    time.sleep(0.05)
    with open("measured", "a") as stream:
        stream.write(f"{os.getpid()} {path}\\n")
    return plain(path, model)
measure.measure = slow
if __name__ == "__main__":
    from ssltoolkit.bin.main import main_entry
    main_entry()
"""


def running(process):
    """Whether the process exists and is not a zombie."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.skipif(not Path("/proc/self/stat").is_file(), reason="reads /proc")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_run_that_was_killed_loses_no_shard(tmp_path, number):
    for sound in range(5 * SHARD):
        soundfile.write(tmp_path / f"sounds{sound:03d}.wav", tone(100 + sound, 0.1), 16000)
    (tmp_path / "slow.py").write_text(SLOW)
    command = [sys.executable, "slow.py", "explore", "--audio_dir", ".", "-o", "out", "--model", "baseline:logmel", "--map", "pca", "--nj", "2"]  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[3])}
    # SIGINT goes to all processes of the run, like Ctrl-C in a terminal; SIGKILL only to the first.
    first = subprocess.Popen(
        command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    end = time.monotonic() + 120
    while not list(tmp_path.glob("out/cache/shard.*.npz")) and first.poll() is None and time.monotonic() < end:
        time.sleep(0.05)
    assert first.poll() is None
    os.killpg(first.pid, number) if number == signal.SIGINT else first.kill()
    # The workers share its stderr: this call blocks until they have ended.
    error = first.communicate(timeout=120)[1]
    workers = {line.split()[0] for line in (tmp_path / "measured").read_text().splitlines()}
    while any(running(worker) for worker in workers) and time.monotonic() < end:
        time.sleep(0.05)
    assert workers and not any(running(worker) for worker in workers)
    if number == signal.SIGINT:
        assert first.returncode == 75 and "run the same command again to continue" in error
        assert "Traceback" not in error
    whole = len(list(tmp_path.glob("out/cache/shard.*.npz")))
    (tmp_path / "measured").unlink()
    subprocess.run(command, cwd=tmp_path, env=environment, check=True, capture_output=True)
    measured = (tmp_path / "measured").read_text().splitlines()
    assert 1 <= whole < 5 and len(measured) == (5 - whole) * SHARD
    assert len(data_of(tmp_path / "out")["paths"]) == 5 * SHARD


def test_a_tab_in_a_name_adds_no_column():
    for windows in (False, True):
        head, row = search.table([search.Hit("a\tb.wav", 0.5)], windows).splitlines()
        assert head.count("\t") == row.count("\t") and row.endswith("a\\tb.wav")


def test_sounds_elsewhere_are_copied_once(tmp_path, capsys):
    for name in ("far/a.wav", "sounds/b.wav"):
        (tmp_path / name).parent.mkdir()
        soundfile.write(tmp_path / name, tone(200, 0.2), 16000)
    (tmp_path / "sounds/a link.wav").symlink_to(tmp_path / "far/a.wav")
    (tmp_path / "sounds/twice.wav").symlink_to(tmp_path / "sounds/b.wav")
    arguments = ["--audio_dir", str(tmp_path / "sounds"), "-o", str(tmp_path / "out"), "--copy", "--nj", "1"]
    assert command_line.run(explore_program.main, arguments) == 0
    assert "1 of 3 names are links to a sound of the folder" in capsys.readouterr().out
    assert data_of(tmp_path / "out")["paths"] == ["../far/a.wav", "b.wav"]
    copies = sorted(path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out/audio").rglob("*.wav"))
    assert copies == ["audio/_up/far/a.wav", "audio/b.wav"]
    soundfile.write(tmp_path / "sounds/b.wav", tone(300, 0.2), 16000)  # of the same length
    assert command_line.run(explore_program.main, arguments) == 0
    assert (tmp_path / "out/audio/b.wav").read_bytes() == (tmp_path / "sounds/b.wav").read_bytes()


@pytest.mark.parametrize("hop_ms", [40.0, 32.0, 50.0, 8.0])
def test_half_seconds_have_the_times_of_whole_frames(hop_ms):
    frames = np.zeros((int(60000 / hop_ms), 1), np.float32)
    frames[int(37000 / hop_ms) : int(37480 / hop_ms)] = 1
    length, hop = window_seconds(hop_ms)
    assert length == pytest.approx(0.48, abs=0.03)
    assert hop * pooled(frames, hop_ms)[:, 0].argmax() == pytest.approx(37.0, abs=hop / 2 + 0.05)


def test_search_finds_the_sound_and_the_half_second(explored, sounds, tmp_path, capsys):
    assert (
        command_line.run(search_program.main, [str(sounds / "low/tone0.wav"), "--index", str(explored), "-k", "3"]) == 0
    )
    rows = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert rows[0] == ["rank", "cosine", "path"] and len(rows) == 4
    assert {rows[1][2], rows[2][2]} == {"low/tone0.wav", "low/again.wav"} and float(rows[1][1]) > 0.99
    wave, rate = soundfile.read(sounds / "odd/two.wav")
    soundfile.write(tmp_path / "part.wav", wave[int(3.6 * rate) : int(4.2 * rate)], rate)
    assert (
        command_line.run(
            search_program.main, [str(tmp_path / "part.wav"), "--index", str(explored), "--frames", "-k", "1"]
        )
        == 0
    )
    best = capsys.readouterr().out.splitlines()[1].split("\t")
    assert best[5] == "odd/two.wav" and float(best[1]) <= 1 and 3.0 <= float(best[2]) <= 4.8


@pytest.mark.parametrize("count", [1, 3])
def test_few_sounds_are_a_page(tmp_path, count):
    for number in range(count):
        soundfile.write(tmp_path / f"{number}.wav", 0.1 * np.random.default_rng(number).standard_normal(8000), 16000)
    assert (
        command_line.run(explore_program.main, ["--audio_dir", str(tmp_path), "-o", str(tmp_path / "out"), "--copy"])
        == 0
    )
    data = data_of(tmp_path / "out")
    assert len(data["paths"]) == count and len(data["near"][0]) == count - 1 and data["link"] == "audio/"
    assert [min(data["x"]), max(data["x"])] == ([0.5, 0.5] if count == 1 else [0, 1])
    assert (tmp_path / "out/audio/0.wav").read_bytes() == (tmp_path / "0.wav").read_bytes()
    # Copied files are not counted as sounds of the folder.
    assert (
        command_line.run(explore_program.main, ["--audio_dir", str(tmp_path), "-o", str(tmp_path / "out"), "--copy"])
        == 0
    )
    assert len(data_of(tmp_path / "out")["paths"]) == count


def test_bad_input_is_one_line(explored, sounds, tmp_path, capsys, monkeypatch):
    (tmp_path / "empty").mkdir()
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad/x.wav").write_bytes(b"nothing")
    (tmp_path / "file").touch()
    (tmp_path / "list.tsv").write_text("path\tlabels\n")
    out = str(tmp_path / "o")
    for program, arguments, message in (
        (explore_program, ["--audio_dir", str(tmp_path / "none"), "-o", out], "no such folder"),
        (explore_program, ["--audio_dir", str(tmp_path / "empty"), "-o", out], "no audio files below it"),
        (
            explore_program,
            ["--audio_dir", str(tmp_path / "bad"), "-o", out, "--nj", "1"],
            "none of its 1 audio file(s) can be read",
        ),
        (explore_program, ["--audio_dir", str(sounds), "-o", str(tmp_path / "file")], "is a file"),
        (explore_program, ["--audio_dir", str(sounds), "-o", out, "--model", "none.pt"], "no such checkpoint"),
        (explore_program, ["--audio_dir", str(sounds), "-o", out, "--nj", "-1"], "--nj -1: must be at least 0"),
        (search_program, [str(sounds / "low/tone0.wav"), "--index", str(tmp_path)], "no index here"),
        (search_program, [str(sounds / "none.wav"), "--index", str(explored)], "no such file"),
        (
            search_program,
            [str(sounds / "low/tone0.wav"), "--index", str(explored), "--model", "baseline:logmel"],
            "the index was made with another model",
        ),
    ):
        assert command_line.run(program.main, arguments) == 2, arguments
        error = capsys.readouterr().err
        assert message in error and "Traceback" not in error, error
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert command_line.run(explore_program.main, ["--audio_dir", str(sounds), "-o", out]) == 2
    assert "pip install 'ssltoolkit[explore]'" in capsys.readouterr().err


def test_labels_that_cannot_be_used(sounds, tmp_path):
    for text, message in (
        ("path\tlabels\n", "missing: label"),
        ("path\tlabel\nnone.wav\tx\n", "none of its 1 paths"),
        ("path\tlabel\n\tx\n", ":2: expected"),
    ):
        (tmp_path / "list.tsv").write_text(text)
        with pytest.raises(DataError, match=message):
            read_labels(str(tmp_path / "list.tsv"), sounds, ["low/tone0.wav"])
