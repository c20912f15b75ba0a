"""Faults of formatted data: stages 3, 4 and 5 refuse each in one line with status 2."""

import os

import pytest

from ssltoolkit import command_line
from ssltoolkit.bin import embed, features, pretrain
from ssltoolkit.data.archive import WaveArchive

pytestmark = pytest.mark.usefixtures("deadline")


def ark_bytes(change):
    def inject(folder):
        (ark,) = folder.glob("wav.*.ark")
        ark.write_bytes(change(ark.read_bytes()))

    return inject


def ark_gone(folder):
    next(folder.glob("wav.*.ark")).unlink()


def ark_is(make):
    def inject(folder):
        (ark,) = folder.glob("wav.*.ark")
        ark.unlink()
        make(ark)

    return inject


def line(name, old, new):
    def inject(folder):
        text = (folder / name).read_text()
        assert old in text
        (folder / name).write_text(text.replace(old, new, 1))

    return inject


#: faults in the output of stage 2, each refused by stages 3, 4 and 5: function that writes it, message
ARCHIVES = {
    "cut off in the last wave": (ark_bytes(lambda data: data[:-5000]), "truncated, run stage 2 again"),
    "cut off in a header": (ark_bytes(lambda data: data[:20]), "damaged, run stage 2 again"),
    "emptied": (ark_bytes(lambda data: b""), "run stage 2 again"),
    "overwritten": (ark_bytes(lambda data: b"\xff" * len(data)), "the archive changed or is damaged"),
    "shifted": (ark_bytes(lambda data: b"xyz" + data), "the archive changed or is damaged"),
    "gone": (ark_gone, "cannot open the archive"),
    "a folder": (ark_is(os.mkdir), "cannot read the archive: Is a directory"),
    "a named pipe": (ark_is(os.mkfifo), "cannot read the archive"),
    "offset past the end": (line("wav.scp", ".ark:6", ".ark:9999999996"), "no wave found at this offset"),
    "offset beyond 64 bits": (line("wav.scp", ".ark:6", ".ark:" + "9" * 30), "wav.scp:1: expected 'archive:offset'"),
    "no offset": (line("wav.scp", ".ark:6", ".ark"), "wav.scp:1: expected 'archive:offset'"),
    "superscript offset": (line("wav.scp", ".ark:6", ".ark:²"), "wav.scp:1: expected 'archive:offset'"),
    "another length": (
        line("utt2num_samples", "utt02 9600", "utt02 9000"),
        "has 9600 samples, utt2num_samples says 9000",
    ),
    "no length": (line("utt2num_samples", "utt02 9600\n", ""), "no sample count for 'utt02'"),
    "length of 0": (line("utt2num_samples", "utt02 9600", "utt02 0"), "no sample count for 'utt02'"),
    "length beyond 64 bits": (
        line("utt2num_samples", "utt02 9600", "utt02 " + "9" * 30),
        "no sample count for 'utt02'",
    ),
    "CRLF": (line("wav.scp", "\n", "\r\n"), "wav.scp:1: line ends in CRLF"),
}


@pytest.fixture
def programs(format_data, make_waves, tiny_yaml, tmp_path, capsys):
    """The formatted directory, and a function that runs each stage that reads it and yields name, status and error."""
    folder = format_data("d", make_waves(5, seconds=0.6))
    capsys.readouterr()

    def call():
        config = ["--config", str(tiny_yaml)]
        stages = {
            features: [*config, "--data_dir", str(folder), "--out_dir", str(tmp_path / "fbank")],
            pretrain: [
                *config,
                "--train_dir",
                str(folder),
                "--exp_dir",
                str(tmp_path / "exp"),
                "--set",
                "training.batch_size=5",
                "--set",
                "training.max_steps=1",
            ],
            embed: [
                *config,
                "--model",
                "baseline:logmel",
                "--data_dir",
                str(folder),
                "--out_dir",
                str(tmp_path / "embed"),
                "--device",
                "cpu",
            ],
        }
        for program, arguments in stages.items():
            yield program.__name__, command_line.run(program.main, arguments), capsys.readouterr().err

    return folder, call


@pytest.mark.parametrize("fault", ARCHIVES)
def test_archives(programs, tmp_path, fault):
    folder, run = programs
    inject, reported = ARCHIVES[fault]
    inject(folder)
    for name, status, error in run():
        assert status == 2 and reported in error and "Traceback" not in error, (name, error)
        assert sum("error:" in text for text in error.splitlines()) == 1
    assert (
        not (tmp_path / "exp/last.pt").exists()
        and not (tmp_path / "embed/meta.json").exists()
        and not (tmp_path / "fbank/feats.scp").exists()
    )


def test_an_archive_that_changes_under_a_running_job(programs):
    from ssltoolkit.errors import DataError

    folder, _ = programs
    archive = WaveArchive(folder)
    archive.read(0)
    (ark,) = folder.glob("wav.*.ark")
    data = bytearray(ark.read_bytes())
    data[100:300] = bytes(200)  # changes samples only: the header stays valid
    ark.write_bytes(bytes(data))
    with pytest.raises(DataError, match="utt00 .*the archive was changed while it was being read"):
        archive.read(0)
