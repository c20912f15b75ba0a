"""egs/realaudio: nothing downstream is heard in pre-training, and the generated tasks are what they say."""

import itertools
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

ROOT = Path(__file__).resolve().parents[2]
RECIPE = ROOT / "egs/realaudio/ssl1"


@pytest.fixture(scope="module", autouse=True)
def local():
    sys.path.insert(0, str(RECIPE / "local"))
    yield
    sys.path.remove(str(RECIPE / "local"))


@pytest.fixture
def one_shots(tmp_path):
    """A folder like dirt_samples: six short sounds of each event class, two textures of each background."""
    import holdout

    rng = np.random.default_rng(0)
    for names, count, seconds in ((holdout.EVENTS["test"], 6, 0.2), (holdout.BACKGROUNDS["test"], 2, 1.5)):
        for name, number in itertools.product(names, range(count)):
            (tmp_path / name).mkdir(exist_ok=True)
            wave = 0.5 * rng.standard_normal(int(seconds * 22254)) * np.hanning(int(seconds * 22254))
            soundfile.write(tmp_path / name / f"{number}.wav", wave, 22254)
    return tmp_path


def test_forms_and_splits_share_nothing():
    import holdout

    folders = [set(names) for table in (holdout.FOLDERS, holdout.EVENTS, holdout.BACKGROUNDS) for names in table.values()]
    programs = [set(holdout.PROGRAMS[form][split]) for form in holdout.FORMS for split in holdout.SPLITS]
    for groups in (folders, programs):
        assert all(not one & two for one, two in itertools.combinations(groups, 2))
    for form in holdout.FORMS:
        speakers = [set(names) for names in holdout.SPEAKERS[form].values()]
        assert all(not one & two for one, two in itertools.combinations(speakers, 2))
    heard = {name for names in holdout.SPEAKERS["dev"].values() for name in names}
    assert not heard & set(holdout.SPEAKERS["test"]["test"])
    assert len(set(range(112)) - holdout.held_out_programs()) >= 40  # instruments are left to pre-train on


def test_soundscapes(one_shots, tmp_path):
    from soundscapes import PLAN, SECONDS, make_soundscapes

    made = make_soundscapes(tmp_path / "made", one_shots, "test", "test", seed=3)
    assert len(made) == PLAN["test"][2]
    for index, (path, events) in enumerate(made.values()):
        wave, rate = soundfile.read(path)
        assert rate == 16000 and len(wave) == SECONDS * rate and 0.2 < np.abs(wave).max() <= 1.0
        assert events and all(0 <= on < off <= SECONDS for on, off, _ in events)
        if index // 3 % 2 == 0:  # monophonic
            assert all(one[1] <= two[0] for one, two in zip(events, events[1:]))
    again = make_soundscapes(tmp_path / "again", one_shots, "test", "test", seed=3)
    assert [events for _, events in made.values()] == [events for _, events in again.values()]
    first = next(iter(made))
    assert Path(made[first][0]).read_bytes() == Path(again[first][0]).read_bytes()
    train = make_soundscapes(tmp_path / "train", one_shots, "test", "train", seed=3)
    alone = {utt: events for utt, (_, events) in train.items() if "mix" not in utt}
    assert len(alone) == 3 * 10 and all(len(events) == 1 for events in alone.values())
    assert not set(train) & set(made)


def test_licences(tmp_path):
    from prepare import shareable

    for text, free in (("CC-BY 4.0", True), ("Public domain", True), ("CC BY-NC 3.0", False), ("Attribution Noncommercial", False), ("", False)):
        (tmp_path / "a.txt").write_text(text)
        assert shareable("librosa_examples", tmp_path / "a.ogg") == free
    assert not shareable("librosa_examples", tmp_path / "no_note.ogg") and shareable("sonic_pi", tmp_path / "b.flac")


def test_pieces_depend_on_the_seed_alone(tmp_path):
    from music import piece

    pytest.importorskip("mido", reason="needs mido: pip install mido")
    files = []
    for number, seed in enumerate((1, 1, 2)):
        files.append(tmp_path / f"{number}.mid")
        piece(files[-1], [2, 7, 10], 8.0, np.random.default_rng(seed))
    assert files[0].read_bytes() == files[1].read_bytes() != files[2].read_bytes()
    import mido

    used = {message.program for message in mido.MidiFile(files[0]) if message.type == "program_change"}
    assert used <= {2, 7, 10} and mido.MidiFile(files[0]).length == pytest.approx(8.0, abs=0.05)


def test_what_is_missing_is_said(recipe):
    realaudio = recipe("realaudio")
    status, output = realaudio.run("--stop_stage", "1", DIRT_SAMPLES="", FSDD="", SONIC_PI="", LIBROSA_EXAMPLES="")
    assert status == 2 and "--dirt_samples is not given" in output and "Traceback" not in output
    status, output = realaudio.run("--form", "other")
    assert status == 2 and "--form must be test or dev" in output
    status, output = realaudio.run("--pretrain_seeds", "0;1")
    assert status == 2 and "--pretrain_seeds" in output
