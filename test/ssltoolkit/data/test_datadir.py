"""data/datadir.py: every error names file and line."""

import pytest

from ssltoolkit.data.datadir import DataDir, Event, Segment, read_table, write_table
from ssltoolkit.errors import DataError


@pytest.fixture
def data(tmp_path):
    def write(**files):
        files = {"wav.scp": "a /a.wav\nb /b.wav\n", **files}
        for name, text in files.items():
            (tmp_path / name).write_bytes(text if isinstance(text, bytes) else text.encode())
        return DataDir(tmp_path)

    write.path = tmp_path
    return write


def error_of(call, *arguments):
    with pytest.raises(DataError) as caught:
        call(*arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_reads_everything(data):
    directory = data(
        **{
            "utt2label": "b x,y z\na x\n".replace(" z", ""),
            "utt2pitch": "a 60\nb 127\n",
            "utt2dur": "a 1.5\nb 2e0\n",
            "utt2fold": "a 0\nb 3\n",
            "events.tsv": "utt_id\tonset\toffset\tlabel\nb\t1.5\t2\tdog bark\nb\t0\t0.25\tbell\n",
        }
    )
    assert directory.utt_ids == ["a", "b"]
    assert directory.labels() == {"a": ["x"], "b": ["x", "y"]}
    assert directory.pitches() == {"a": 60, "b": 127}
    assert directory.durations() == {"a": 1.5, "b": 2.0}
    assert directory.folds() == {"a": 0, "b": 3}
    assert directory.events() == {"a": [], "b": [Event(0.0, 0.25, "bell"), Event(1.5, 2.0, "dog bark")]}
    assert directory.segments() == {"a": Segment("a", 0.0, -1.0), "b": Segment("b", 0.0, -1.0)}


def test_paths_may_hold_spaces_and_ids_other_letters(data):
    directory = data(**{"wav.scp": "Zug /x y/z.wav\nähre /a  b.wav\n"})
    assert directory.utt_ids == ["Zug", "ähre"]
    assert directory.wav() == {"Zug": "/x y/z.wav", "ähre": "/a  b.wav"}


def test_segments_define_the_utterances(data):
    directory = data(segments="u2 a 1.5 2.5\nu1 a 0 -1\n")
    assert directory.utt_ids == ["u1", "u2"]
    assert directory.segments() == {"u1": Segment("a", 0.0, -1.0), "u2": Segment("a", 1.5, 2.5)}


@pytest.mark.parametrize(
    "text, part",
    [
        ("a /a.wav\nb\n", ":2: expected 'id value', got 'b'"),
        ("a /a.wav\n b /b.wav\n", ":2: expected 'id value'"),
        ("a /a.wav\n\nb /b.wav\n", ":2: empty line"),
        ("a /a.wav\r\n", ":1: line ends in CRLF"),
        ("a /a.wav\na /b.wav\n", ":2: id 'a' appears twice"),
        (b"a /\xff\xfe.wav\n", ": not UTF-8 text"),
        ("", "no utterances; the file is empty"),
    ],
)
def test_wav_scp_errors(data, text, part):
    message = error_of(lambda: data(**{"wav.scp": text}))
    assert str(data.path / "wav.scp") in message and part in message, message


def test_missing_places(tmp_path, data):
    assert "no such data directory" in error_of(DataDir, tmp_path / "none")
    assert "wav.scp: no such file" in error_of(DataDir, tmp_path)
    assert "utt2label: no such file" in error_of(data().labels)
    (tmp_path / "utt2dur").mkdir()
    assert "utt2dur: is a directory" in error_of(data().durations)


@pytest.mark.parametrize(
    "name, text, method, part",
    [
        (
            "segments",
            "u a 0\n",
            "segments",
            ":1: 3 columns where 4 are expected (utterance recording start end), got 'a 0'",
        ),
        ("segments", "u a 0 1\nv c 0 1\n", "segments", ":2: recording 'c' is not in wav.scp"),
        ("segments", "u a 0 x\n", "segments", ":1: start and end must be numbers of seconds, got 'a 0 x'"),
        ("segments", "u a nan 1\n", "segments", ":1: start and end must be numbers"),
        ("segments", "u a 2 1\n", "segments", ":1: needs 0 <= start < end"),
        ("segments", "u a -1 1\n", "segments", ":1: needs 0 <= start < end"),
        ("utt2label", "a x\nb y,,z\n", "labels", ":2: labels are separated by single commas"),
        ("utt2label", "a x, y\nb y\n", "labels", ":1: labels are separated by single commas"),
        ("utt2label", "a x\n", "labels", ": 1 utterance(s) have no line, the first is 'b'"),
        ("utt2pitch", "a 60\nb 128\n", "pitches", ":2: the pitch must be a MIDI note number from 0 to 127, got '128'"),
        ("utt2pitch", "a C4\nb 1\n", "pitches", ":1: the pitch must be"),
        ("utt2pitch", "a -1\nb 1\n", "pitches", ":1: the pitch must be"),
        ("utt2dur", "a long\nb 1\n", "durations", ":1: the duration must be a number"),
        ("utt2fold", "a 1\nb x\n", "folds", ":2: the fold must be a whole number"),
        ("events.tsv", "utt\tonset\n", "events", ":1: the header must be utt_id, onset, offset, label"),
        (
            "events.tsv",
            "utt_id\tonset\toffset\tlabel\na\t1\t2\n",
            "events",
            ":2: 3 columns where 4 are expected, separated by tabs",
        ),
        ("events.tsv", "utt_id\tonset\toffset\tlabel\nc\t1\t2\tx\n", "events", ":2: utterance 'c' is not in this"),
        (
            "events.tsv",
            "utt_id\tonset\toffset\tlabel\na\t1\t2\tx\na\t2\t2\tx\n",
            "events",
            ":3: needs 0 <= onset < offset",
        ),
        (
            "events.tsv",
            "utt_id\tonset\toffset\tlabel\na\tinf\t2\tx\n",
            "events",
            ":2: onset and offset must be numbers",
        ),
        ("events.tsv", "utt_id\tonset\toffset\tlabel\na\t1\t2\t\n", "events", ":2: a label is missing"),
    ],
)
def test_table_errors_name_file_and_line(data, name, text, method, part):
    message = error_of(getattr(data(**{name: text}), method))
    assert f"{data.path / name}{part[0]}" in message and part in message, message


def test_write_table_sorts_by_byte_and_reads_back(tmp_path):
    table = {"b": "2", "B": "1 x", "ä": "3", "a": "4"}
    write_table(tmp_path / "t", table)
    assert list(read_table(tmp_path / "t")) == ["B", "a", "b", "ä"]
    assert read_table(tmp_path / "t") == table
    assert [path.name for path in tmp_path.iterdir()] == ["t"]
