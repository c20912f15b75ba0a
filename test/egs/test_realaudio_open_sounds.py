"""egs/realaudio: words of several voices, patches, and the tasks made from open_sounds."""

import itertools
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from ssltoolkit.errors import UserError

RECIPE = Path(__file__).resolve().parents[2] / "egs/realaudio/ssl1"


@pytest.fixture(scope="module", autouse=True)
def local():
    sys.path.insert(0, str(RECIPE / "local"))
    yield
    sys.path.remove(str(RECIPE / "local"))


def test_no_task_of_open_sounds_is_in_the_pool():
    import instruments
    import kinds
    from holdout import TASK_SOURCES

    folds = [set(sources) for sources in kinds.FOLDS]
    assert all(not one & two for one, two in itertools.combinations(folds, 2))
    used = set().union(*folds) | {"noice"} | {folder.split("/")[0] for folder in instruments.INSTRUMENTS}
    assert used <= set(TASK_SOURCES)


def test_kinds(tmp_path):
    import kinds

    named = {
        "antum_sounds": ["a_dog_bark", "a_rain_heavy", "a_pigeon", "a_train_whistle"],
        "snap_sounds": ["owl"],
        "openclonk": ["Rain.ocg/StereoRain", "Adventurer.ocg/Hurt1"],
        "minetest_game": ["default_break_glass"],
        "tuxpaint_sounds": ["dogs/dog", "birds/owl"],
        "wesnoth": ["human-hit-1", "human-female-hit-1", "bat-hit-2"],
        "cdda_cc_sounds": ["weather/drizzle__p1", "smash_glass"],
        "ufoai": ["misc/breakglass", "soldiers/malehurt1", "soldiers/femalehurt1"],
    }
    for source, names in named.items():
        for name in names:
            for take in "abc":
                path = tmp_path / source / f"{name}{take if name != 'owl' else ''}.wav"
                path.parent.mkdir(parents=True, exist_ok=True)
                soundfile.write(path, np.zeros(160), 16000)
    assert [kinds.kind_of(name) for name in ("antum_sounds/a_pigeon", "ufoai/femalehurt1", "snap_sounds/shaker")] == [
        "owl, pigeon",
        "woman in pain",
        None,
    ]
    assert [kinds.learnable(folds) for folds in ([1], [1, 2], [1, 3], [2, 4], [1, 2, 3])] == [
        False,
        False,
        True,
        True,
        True,
    ]
    found = kinds.kinds(tmp_path)
    folds = {}
    for utterance in found.values():
        folds.setdefault(utterance.labels, set()).add(utterance.fold)
    # Left out: classes in one fold, or in two folds of which one only selects the probe of the other.
    assert folds == {
        "rain": {1, 2, 4},
        "man_in_pain": {2, 3, 4},
        "glass_breaking": {2, 4},
        "dog_wolf": {1, 3},
        "owl_pigeon": {1, 3},
    }


def test_events(tmp_path, monkeypatch, capsys):
    import events
    import kinds

    assert all(not set(one) & set(two) for one, two in itertools.combinations(events.AMBIENCES.values(), 2))
    assert set(events.CLASSES) <= {kinds.label(kind) for kind in kinds.KINDS}
    rng = np.random.default_rng(0)
    names = "leopard crow dog doors_ explosion breakglass bee laser male_scream clang rifle_shot woodhit".split()
    for source in itertools.chain(*kinds.FOLDS):
        (tmp_path / source).mkdir()
        for name in names:
            seconds = 6.0 if (source, name) == ("wesnoth", "explosion") else 0.4
            soundfile.write(tmp_path / source / f"{name}.wav", 0.3 * rng.standard_normal(int(seconds * 16000)), 16000)
    soundfile.write(tmp_path / "wesnoth/bee.wav", np.ones(100), 16000)
    (tmp_path / "noice").mkdir()
    for ambience in itertools.chain(*events.AMBIENCES.values()):
        for piece in range(2):
            wave = 0.1 * rng.standard_normal(90000)
            soundfile.write(tmp_path / "noice" / f"{ambience}__p{piece}.wav", wave, 16000)
    monkeypatch.setattr(events, "PLAN", {split: (*plan[:2], 6) for split, plan in events.PLAN.items()})
    heard = {split: events.events(kinds.labelled(tmp_path)[0], split) for split in events.PLAN}
    shots = [wave.tobytes() for one in heard.values() for waves in one.values() for wave in waves]
    assert len(set(shots)) == len(shots) == 12 * 8 - 1  # each recording is in one split, the short one in none
    assert max(len(wave) for one in heard.values() for waves in one.values() for wave in waves) == 64000
    assert "1 of less than 30 ms left out" in capsys.readouterr().out
    # A user may give a folder with "..".
    made = events.make_events(tmp_path / "noice" / "..", tmp_path / "made", 3)
    alone = sum(map(len, heard["train"].values()))
    assert {split: len(utts) for split, utts in made.items()} == {"train": 6 + alone, "valid": 6, "test": 6}
    assert {one.label for utt in made["train"].values() for one in utt.events} == set(events.CLASSES)
    for path in (utt.path for utt in made["test"].values()):
        wave, rate = soundfile.read(path)
        assert rate == 16000 and len(wave) == 160000 and 0.2 < np.abs(wave).max() <= 1.0
    again = events.make_events(tmp_path, tmp_path / "again", 3)["test"]
    assert [u.events for u in again.values()] == [u.events for u in made["test"].values()]
    for path in tmp_path.glob("noice/heavy_rain*"):
        path.unlink()
    with pytest.raises(UserError, match="no recording heavy_rain; the backgrounds of test"):
        events.make_events(tmp_path, tmp_path / "again", 3)
    for path in tmp_path.glob("*/laser.wav"):
        path.unlink()
    with pytest.raises(UserError, match="0 recordings of laser are too few"):
        events.make_events(tmp_path, tmp_path / "again", 3)


@pytest.mark.parametrize(
    "stem, pitch",
    [
        ("046-A#2-FF", 46),
        ("MartinGM2_061_Db4_1", 61),
        ("arco_a2_f_down", 45),
        ("eb4_f_rr1_cnd", 63),
        ("C#5", 73),
        ("F#6v16", 90),
        ("VS_PizzStr_E0", 16),
        ("arco_noise_creak", None),
        ("Shn04", None),
    ],
)
def test_pitch_of_a_name(stem, pitch):
    from instruments import named_pitch

    assert named_pitch(stem) == pitch


def test_instruments(tmp_path):
    from instruments import INSTRUMENTS, instruments

    for folder in INSTRUMENTS:
        (tmp_path / folder / "noises").mkdir(parents=True)
        for name in ("c3", "c4", "scrape", "noises/c4"):
            soundfile.write(tmp_path / folder / f"{name}.wav", np.zeros(160), 16000)
    (tmp_path / "freepats_old_piano/A0.wav").write_bytes((tmp_path / "freepats_old_piano/c3.wav").read_bytes())
    found = instruments(tmp_path)
    by_fold = {fold: {u.pitch for u in found.values() if u.fold == fold} for fold in range(1, 5)}
    # Fold 1 sounds an octave higher, the bass of fold 4 an octave lower. A0, and 36 of fold 4, are left out: no
    # training fold has them.
    assert by_fold == {1: {60, 72}, 2: {48, 60}, 3: {48, 60, 72}, 4: {48, 60, 72}}
    assert not [utt for utt in found if "scrape" in utt or "noises" in utt]


def test_words_by_several_voices(tmp_path):
    import shutil

    import speech
    from prepare import write_pool

    if shutil.which("espeak-ng") is None:
        pytest.skip("espeak-ng is not installed")
    paths, groups = speech.make_words(tmp_path / "one", 3, 2, seed=4, nj=2)
    again, _ = speech.make_words(tmp_path / "two", 3, 2, seed=4, nj=1)
    assert groups == {f"word-{word:05d}-{voice}": f"word-{word:05d}" for word in range(3) for voice in range(2)}
    waves = {utt: soundfile.read(path)[0] for utt, path in paths.items()}
    assert all(0.05 < len(wave) / 16000 < 3.0 and np.abs(wave).max() > 0.01 for wave in waves.values())
    assert all(Path(path).read_bytes() == Path(again[utt]).read_bytes() for utt, path in paths.items())
    assert len({wave.tobytes() for wave in waves.values()}) == 6
    write_pool({**paths, "other": "x.wav"}, groups, tmp_path / "data", 0.0, 0)
    rows = [
        line.split()
        for name in ("pretrain", "pretrain_valid")
        for line in (tmp_path / "data" / name / "utt2group").read_text().splitlines()
    ]
    assert dict(rows) == groups


def test_silence_is_cut():
    from speech import without_silence

    wave = np.concatenate([np.zeros(100), np.ones(50), np.zeros(30), np.ones(20), np.full(40, 1e-3)])
    assert len(without_silence(wave)) == 100 and len(without_silence(np.zeros(10))) == 10


def test_patches(tmp_path):
    import patches

    paths, groups = patches.make_patches(tmp_path / "one", 4, 3, seed=2, nj=2)
    again, _ = patches.make_patches(tmp_path / "two", 4, 3, seed=2, nj=1)
    assert groups == {f"patch-{k:05d}-{take}": f"patch-{k:05d}" for k in range(4) for take in range(3)}
    waves = {utt: soundfile.read(path)[0] for utt, path in paths.items()}
    for utt, wave in waves.items():
        assert np.abs(wave).max() == pytest.approx(0.5, abs=1e-3) and 0.3 <= len(wave) / 16000 + 1e-4 <= 2.001
        assert Path(paths[utt]).read_bytes() == Path(again[utt]).read_bytes()
    # Renderings of a patch differ, but less than renderings of different patches.
    bands = {utt: np.abs(np.fft.rfft(wave, 32768))[:16384].reshape(64, 256).mean(1) for utt, wave in waves.items()}
    apart = {True: [], False: []}
    for one, other in itertools.combinations(bands, 2):
        assert waves[one].tobytes() != waves[other].tobytes()
        distance = np.abs(np.log(bands[one] + 1e-3) - np.log(bands[other] + 1e-3)).mean()
        apart[groups[one] == groups[other]].append(distance)
    assert np.mean(apart[True]) < 0.8 * np.mean(apart[False])
