"""egs/realaudio: pre-training contains no audio of the downstream tasks, and generated tasks match their labels."""

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
    """A folder like dirt_samples: six short sounds per event class, two textures per background."""
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

    folders = [
        set(names) for table in (holdout.FOLDERS, holdout.EVENTS, holdout.BACKGROUNDS) for names in table.values()
    ]
    programs = [set(holdout.PROGRAMS[form][split]) for form in holdout.FORMS for split in holdout.SPLITS]
    for groups in (folders, programs):
        assert all(not one & two for one, two in itertools.combinations(groups, 2))
    for form in holdout.FORMS:
        speakers = [set(names) for names in holdout.SPEAKERS[form].values()]
        assert all(not one & two for one, two in itertools.combinations(speakers, 2))
    heard = {name for names in holdout.SPEAKERS["dev"].values() for name in names}
    assert not heard & set(holdout.SPEAKERS["test"]["test"])
    assert len(set(range(112)) - holdout.held_out_programs()) >= 40  # instruments left for pre-training


def test_soundscapes(one_shots, tmp_path, monkeypatch):
    import soundscapes
    from soundscapes import SECONDS, make_soundscapes

    monkeypatch.setattr(
        soundscapes, "PLAN", {split: (low, high, 12) for split, (low, high, _) in soundscapes.PLAN.items()}
    )
    made = make_soundscapes(tmp_path / "made", one_shots, "test", "test", seed=3)
    assert len(made) == 12
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


@pytest.fixture
def player(monkeypatch):
    """Replace FluidSynth: render every note as a sine of its frequency, none above MIDI 100."""
    import music

    asked = {}

    def write_midi(path, programs, notes, end):
        asked["notes"], asked["end"] = notes, end

    def play(midi, wave, soundfont, rate, reverb):
        samples, time = np.zeros(int(asked["end"] * rate)), np.arange(rate) / rate
        for note in asked["notes"]:
            if note.midi <= 100:
                first = int(note.start * rate)
                samples[first : first + rate] = 0.1 * np.sin(2 * np.pi * 440 * 2 ** ((note.midi - 69) / 12) * time)
        soundfile.write(wave, samples, rate)

    monkeypatch.setattr(music, "write_midi", write_midi)
    monkeypatch.setattr(music, "play", play)


def test_notes(player, monkeypatch, tmp_path, capsys):
    import notes
    import prepare

    programs = {"test": {"train": (0, 40), "valid": (6,), "test": (73,)}}
    monkeypatch.setattr(notes, "PROGRAMS", programs)
    monkeypatch.setattr(prepare, "PROGRAMS", programs)
    args = prepare.parser().parse_args(["--out_dir", str(tmp_path), "--soundfont", "any.sf2"])
    prepare.pitches(args, "test", tmp_path / "test_notes")
    assert "left out 8 notes that are silent in" in capsys.readouterr().out
    for task, counts in (("test_notes", (160, 80, 80)), ("test_notes_piano", (80, 80, 80))):
        for split, count in zip(("train", "valid", "test"), counts):
            labels = dict(line.split() for line in (tmp_path / task / split / "utt2pitch").read_text().splitlines())
            assert len(labels) == count and set(labels.values()) == {str(midi) for midi in range(21, 101)}
            paths = dict(
                line.split(maxsplit=1) for line in (tmp_path / task / split / "wav.scp").read_text().splitlines()
            )
            assert (
                task == "test_notes"
                or split != "train"
                or all(utt.startswith("piano_synthetic_000-") for utt in labels)
            )
            for utt in [utt for utt, midi in labels.items() if int(midi) > 40][::20]:
                wave, rate = soundfile.read(paths[utt])
                peak = np.abs(np.fft.rfft(wave[:rate])).argmax()  # 1 s of audio: bins of 1 Hz
                assert peak == pytest.approx(440 * 2 ** ((int(labels[utt]) - 69) / 12), abs=1.0)


def test_licences(tmp_path):
    from prepare import shareable

    for text, free in (
        ("CC-BY 4.0", True),
        ("Public domain", True),
        ("CC BY-NC 3.0", False),
        ("Attribution Noncommercial", False),
        ("", False),
    ):
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
    status, output = realaudio.run("--train_seeds", "0;1")
    assert status == 2 and "--train_seeds must be whole numbers, got '0;1'" in output


def test_every_seed_has_an_untrained_network_of_its_own(recipe):
    realaudio = recipe("realaudio")
    status, output = realaudio.run(
        "--train_seeds", "0,3", "--train_configs", "conf/clip.yaml conf/all.yaml", "--dry_run", "true"
    )
    assert status == 0, output
    embedded = {}
    for line in output.splitlines():
        words = line.split()
        if "embed" in words and "--seed" in words:
            folder = words[words.index("--out_dir") + 1].split("/")
            embedded.setdefault(folder[2], {})[folder[4]] = words[words.index("--seed") + 1]
    assert embedded["seed0"] == {"logmel": "0", "untrained": "0", "clip": "0", "all": "0"}
    # Log-mel statistics have no random weights: other seeds do not repeat them.
    assert embedded["seed3"] == {"untrained": "3", "clip": "3", "all": "3"}


def lines(output, *words):
    """Return the printed commands that contain all these words."""
    return [line.split() for line in output.splitlines() if all(word in line.split() for word in words)]


def value(line, option):
    return line[line.index(option) + 1]


@pytest.mark.parametrize("join", [" ", "="])
def test_options_mean_the_same_in_either_form(recipe, join):
    options = [
        ("--train_seeds", "4,5"),
        ("--train_args", "--set_training.max_steps_7"),
        ("--tag", "other"),
        ("--stage", "4"),
        ("--stop-stage", "4"),
    ]
    options += [("--train_configs", "conf/clip.yaml"), ("--dry_run", "true")]
    given = ["=".join(pair) for pair in options] if join == "=" else [word for pair in options for word in pair]
    status, output = recipe("realaudio").run(*given)
    assert status == 0, output
    trained = lines(output, "pretrain")
    assert [value(line, "--exp_dir") for line in trained] == ["exp/other/seed4/clip", "exp/other/seed5/clip"]
    assert [line[-2:] for line in trained] == [["--set", "training.seed=4"], ["--set", "training.seed=5"]]
    assert all("--set_training.max_steps_7" in line for line in trained) and not lines(output, "evaluate")


def test_sound_events_are_chosen_among_post_processings_that_keep_short_ones(recipe):
    options = ["--train_configs", "conf/all.yaml", "--train_seeds", "0", "--stage", "6", "--dry_run", "true"]
    realaudio = recipe("realaudio")
    for more, widths, shortest in (
        ([], "40,120,250", "0"),
        (["--median_filter_ms", "250", "--min_duration_ms=125,250"], "250", "125,250"),
    ):
        status, output = realaudio.run(*options, *more)
        assert status == 0, output
        found = lines(output, "ssltoolkit", "evaluate")
        events = [line for line in found if value(line, "--task") == "sed"]
        assert len(events) == 3 and len(found) == 3 * 5
        for line in events:
            given = value(line, "--median_filter_ms"), value(line, "--min_duration_ms")
            assert tuple(text.replace("\\", "") for text in given) == (widths, shortest)
        assert not any("--median_filter_ms" in line for line in found if line not in events)


def test_post_processing_is_told_in_milliseconds(recipe):
    status, output = recipe("realaudio").run("--median_filter_ms", "short")
    assert status == 2 and "--median_filter_ms must be milliseconds separated by commas, got 'short'" in output


@pytest.mark.parametrize(
    "configs, reference", [("clip_frame all", "clip_frame"), ("all", "all"), ("paper clip all", "clip")]
)
def test_differences_are_to_a_model_that_is_there(recipe, configs, reference):
    files = " ".join(f"conf/{name}.yaml" for name in configs.split())
    status, output = recipe("realaudio").run(
        "--train_configs", files, "--train_seeds", "0", "--stage", "9", "--dry_run", "true"
    )
    assert status == 0, output
    (report,) = lines(output, "ssltoolkit", "report")
    assert value(report, "--reference") == reference


def test_a_finished_model_is_evaluated_once(recipe):
    realaudio = recipe("realaudio")
    (realaudio.folder / "model.pt").write_bytes(b"")
    status, output = realaudio.run("--pretrained", "model.pt", "--dry_run", "true")
    assert status == 0, output
    assert not lines(output, "pretrain") and len(lines(output, "embed", "model.pt")) == 1
    (report,) = lines(output, "ssltoolkit", "report")
    assert value(report, "--models").replace("\\", "") == "logmel,untrained,pretrained"  # printed with shell quoting


@pytest.mark.parametrize(
    "options, part",
    [
        (["--stage", "ten"], "--stage must be a whole number, got 'ten'"),
        (["all"], "unexpected argument 'all'"),
        (["--train_configs", " "], "--train_configs is empty"),
        (["--stop_stage"], "--stop_stage needs a value"),
    ],
)
def test_bad_options(recipe, options, part):
    status, output = recipe("realaudio").run(*options)
    assert status == 2 and part in output, output


def test_a_configuration_file_wins_over_the_recipe(recipe, tmp_path):
    """Options in the --config file override the recipe's; the command line overrides both."""
    (tmp_path / "a.conf").write_text(
        "dry_run=true\nstop_stage=4\ntag=mine\nbaselines=untrained\ntrain_seeds=0,3\ntrain_configs='conf/clip.yaml'\nnj=3\n"
    )
    status, said = recipe("realaudio").run("--config", tmp_path / "a.conf", "--tag", "yours", "--stage", "2")
    assert status == 0, said
    assert (
        "exp/yours/seed0/clip" in said
        and "exp/yours/seed3/clip" in said
        and "mine" not in said
        and "stage 5" not in said
    )
    assert "--nj 3" in said


@pytest.fixture
def sources(tmp_path):
    """A folder like open_sounds: one pool source per licence class, and both word sources."""
    wave = 0.1 * np.random.default_rng(0).standard_normal(1600)
    names = ["rain/a.ogg", "shared/b.ogg"]
    names += [f"dspspeech20/{speaker}/{speaker}-{word:02d}-01.ogg" for speaker in range(100, 106) for word in range(3)]
    names += [f"arabic_commands/{word}/{speaker:08d}_NO_01.ogg" for word in ("one", "stop") for speaker in range(7)]
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(tmp_path / name, wave, 16000)
    rows = [
        ("rain", "environment", "permissive"),
        ("shared", "environment", "share-alike"),
        ("dspspeech20", "speech", "permissive"),
        ("arabic_commands", "speech", "permissive"),
    ]
    (tmp_path / "SOURCES.tsv").write_text(
        "source\tkind\tclass\tlicence\n" + "".join("\t".join((*row, "CC0")) + "\n" for row in rows)
    )
    return tmp_path


def test_the_pool_takes_no_source_of_a_task(sources):
    import open_sounds

    assert open_sounds.pool_sources(sources, "all") == ["rain", "shared"]
    assert open_sounds.pool_sources(sources, "permissive") == ["rain"] and list(
        open_sounds.pool_files(sources, "rain")
    ) == ["rain-a"]
    for wanted, message in (("dspspeech20", "used for a downstream task"), ("rian", "'rian' is not a source")):
        with pytest.raises(open_sounds.UserError, match=message):
            open_sounds.pool_sources(sources, wanted)
    (sources / "SOURCES.tsv").write_text("source\tkind\tlicence\n")
    with pytest.raises(open_sounds.UserError, match="SOURCES.tsv:1: no column 'class'"):
        open_sounds.pool_sources(sources, "all")


@pytest.mark.parametrize("form, speakers, labels", [("dev", 6, 3), ("test", 7, 2)])
def test_words_are_folded_by_speaker(sources, form, speakers, labels):
    import open_sounds

    made = open_sounds.words(sources, form)
    folds = {}
    for one in made.values():
        folds.setdefault(one.speaker, set()).add(one.fold)
    assert len(folds) == speakers and all(len(fold) == 1 for fold in folds.values())
    assert len({one.labels for one in made.values()}) == labels
    assert {fold for one in folds.values() for fold in one} == set(range(1, open_sounds.FOLDS + 1))


def test_words_of_the_two_forms_share_no_source():
    import holdout
    import open_sounds

    names = [source for source, _ in open_sounds.WORDS.values()]
    assert len(set(names)) == 2 and all(holdout.TASK_SOURCES[name] == "words" for name in names)
