"""data/recipes.py: finding a dataset, counting it, writing it."""

import pytest

from ssltoolkit.data import recipes
from ssltoolkit.data.datadir import DataDir, Event
from ssltoolkit.data.recipes import CompletenessCheck, Published, Utterance
from ssltoolkit.errors import DataError, UserError

BIRDS = Published(
    "the birds", "BIRDS", "labels.csv and wav/", "https://birds.example.org", ("labels.csv", "wav/list.txt")
)


def arguments(*words):
    return recipes.parser("").parse_args(words)


@pytest.mark.parametrize("place", ["", "one", "one/two"])
def test_a_dataset_is_found_up_to_two_folders_deep(tmp_path, place):
    (tmp_path / place).mkdir(parents=True, exist_ok=True)
    (tmp_path / place / "labels.csv").touch()
    assert recipes.locate(BIRDS, arguments("--source", str(tmp_path))) == (tmp_path / place).resolve()


def test_a_mark_may_be_a_path(tmp_path):
    (tmp_path / "set/wav").mkdir(parents=True)
    (tmp_path / "set/wav/list.txt").touch()
    assert recipes.locate(BIRDS, arguments("--source", str(tmp_path))) == (tmp_path / "set").resolve()


def test_what_is_not_there_says_where_to_get_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for source, message in (
        ("", "BIRDS is empty: this needs the birds"),
        (str(tmp_path), "not a copy of the birds"),
        ("/none", "no such folder"),
    ):
        with pytest.raises(UserError, match=message) as caught:
            recipes.locate(BIRDS, arguments("--source", source))
        assert "https://birds.example.org" in str(caught.value) and "\n" not in str(caught.value)
        assert "to fetch it" not in str(caught.value)
    with pytest.raises(UserError, match="has no public archive"):
        recipes.locate(BIRDS, arguments("--source", "downloads"))


def test_a_malformed_list_of_archives(tmp_path):
    (tmp_path / "archives.txt").write_text("# comment\n\nset - https://a/b.zip\nset https://a/c.zip\n")
    with pytest.raises(DataError, match=r"archives\.txt:4: expected 'folder hash URL'"):
        recipes.read_archives(tmp_path / "archives.txt")


@pytest.mark.parametrize(
    "text, message",
    [
        ("file,split\na.wav,dev\n", r"t.csv:2: split is 'dev'; known are train, test"),
        ("file,part\na.wav,train\n", r"t.csv:1: no column split; the header has file, part"),
        ("file,split\na.wav\n", r"t.csv:2: no value for split"),
        ("file,split\n,train\n", r"t.csv:2: no value for file"),
        ("", r"t.csv:1: no column file, split; the header has nothing"),
    ],
)
def test_rows_of_a_table(tmp_path, text, message):
    table = tmp_path / "t.csv"
    table.write_text('\ufefffile,split\r\n"a, b.wav",train\r\n', encoding="utf-8")
    (row,) = recipes.read_rows(table, ("file", "split"), split=("train", "test"))
    assert row == {"file": "a, b.wav", "split": "train", "where": f"{table}:2"}
    table.write_text(text)
    with pytest.raises(DataError, match=message):
        recipes.read_rows(table, ("file", "split"), split=("train", "test"))


def test_a_census_reports_all_differences_in_one_line(tmp_path, capsys):
    completeness = CompletenessCheck(BIRDS, tmp_path, partial=False)
    completeness.count("songs", 5, 5)
    completeness.close()
    completeness.count("calls", 3, 5, {"b.wav", "a.wav"})
    completeness.count("species", 9, 8)
    with pytest.raises(DataError) as caught:
        completeness.close()
    assert "3 of 5 calls (missing: a.wav, b.wav); 9 of 8 species; complete it from https://birds" in str(caught.value)
    completeness.partial = True
    completeness.close()
    assert "--partial true" in capsys.readouterr().out


def test_every_table_and_nothing_of_an_earlier_one(tmp_path):
    wav = tmp_path / "a.wav"
    recipes.write_set(
        tmp_path / "d",
        {"b": Utterance(wav, ["x", "y"], 60, [Event(0.5, 1.0, "x")], "s", 2), "a": Utterance(wav, "x", 61, [], "s", 1)},
    )
    data = DataDir(tmp_path / "d")
    assert (
        data.labels() == {"a": ["x"], "b": ["x", "y"]}
        and data.pitches() == {"a": 61, "b": 60}
        and data.folds() == {"a": 1, "b": 2}
    )
    assert data.events() == {"a": [], "b": [Event(0.5, 1.0, "x")]}
    recipes.write_set(tmp_path / "d", {"c": Utterance(wav, span=(1.0, 2.5)), "d": Utterance(wav)})
    data = DataDir(tmp_path / "d")
    assert sorted(path.name for path in (tmp_path / "d").iterdir()) == ["segments", "utt2spk", "wav.scp"]
    assert [tuple(part)[1:] for part in data.segments().values()] == [(1.0, 2.5), (0.0, -1.0)] and len(data.wav()) == 1


@pytest.mark.parametrize(
    "utts, message",
    [
        ({}, "no utterance is left"),
        ({"a b": Utterance("x")}, "cannot be an utterance id"),
        ({"a": Utterance("x", "l"), "b": Utterance("x")}, "1 of 2 utterances have no entry"),
    ],
)
def test_what_cannot_be_written(tmp_path, utts, message):
    with pytest.raises(DataError, match=message):
        recipes.write_set(tmp_path / "d", utts)


def test_pre_training_sees_no_labels_and_no_clip_twice(tmp_path):
    utts = {f"u{number:02d}": Utterance(tmp_path / f"{number}.wav", "x", speaker="s") for number in range(60)}
    recipes.write_pretraining(tmp_path, utts, seed=3)
    first, second = DataDir(tmp_path / "pretrain"), DataDir(tmp_path / "pretrain_valid")
    assert len(second.utt_ids) == 3 and sorted(first.utt_ids + second.utt_ids) == sorted(utts)
    assert not first.has("utt2label") and set((tmp_path / "pretrain/utt2spk").read_text().split()) == set(first.utt_ids)
    with pytest.raises(DataError, match="at least 4"):
        recipes.write_pretraining(tmp_path, dict(list(utts.items())[:3]), 0)


def test_draws_depend_on_the_seed_alone():
    names = [f"n{number}" for number in range(50)]
    assert recipes.draw(names, 9, 1) == recipes.draw(reversed(names), 9, 1) != recipes.draw(names, 9, 2)
    assert recipes.draw(names, 99, 1) == sorted(names)
