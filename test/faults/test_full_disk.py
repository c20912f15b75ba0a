"""A full disk: every program reports it in one line with status 2, and its next run completes the output."""

import contextlib
import errno
import resource

import pytest

from ssltoolkit import command_line
from ssltoolkit.bin import embed, features, format, pretrain

#: program, arguments, largest file size in bytes, file that the error names
WRITERS = {
    "format": (format, ["--data_dir", "d", "--out_dir", "out"], 20_000, "out/wav.00001.ark"),
    "features": (
        features,
        ["--config", "tiny.yaml", "--data_dir", "d-formatted", "--out_dir", "out"],
        5_000,
        "out/feats.00001.ark",
    ),
    "embed scenes": (
        embed,
        ["--model", "baseline:logmel", "--data_dir", "d-formatted", "--out_dir", "out"],
        500,
        "out",
    ),
    "embed frames": (
        embed,
        ["--model", "baseline:logmel", "--data_dir", "d-formatted", "--out_dir", "out", "--kind", "frame"],
        2_000,
        "out/embeddings.npy",
    ),
    "embed files": (embed, ["--model", "baseline:logmel", "d/audio/utt00.wav", "-o", "out.npz"], 500, "out.npz"),
    "pretrain, its lock": (
        pretrain,
        ["--config", "tiny.yaml", "--train_dir", "d-formatted", "--exp_dir", "out"],
        0,
        "out/lock",
    ),
}


@contextlib.contextmanager
def room(size):
    """Limit files to ``size`` bytes, as on a full disk."""
    former = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, former[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, former)


@pytest.fixture
def place(format_data, make_waves, tiny_yaml, tmp_path, monkeypatch):
    """The working directory, with data before and after stage 2."""
    monkeypatch.chdir(tmp_path)
    format_data("d", make_waves(6))
    return tmp_path


@pytest.mark.parametrize("name", WRITERS)
def test_one_line_that_names_the_file(place, capsys, name):
    program, arguments, size, reported = WRITERS[name]
    with room(size):
        assert command_line.run(program.main, arguments) == 2
    error = capsys.readouterr().err
    assert (
        f"error: {reported}: cannot be written: File too large; free some space" in error and "Traceback" not in error
    ), error
    assert not (place / "out.npz").exists() and not (place / "out/meta.json").exists()
    assert command_line.run(program.main, arguments) == 0, capsys.readouterr().err


@pytest.mark.parametrize("name", ["train_log.jsonl", "tensorboard"])
def test_logs_of_a_run(start, run_dir, monkeypatch, name):
    """Between two checkpoints only the logs are written; the TensorBoard writer must not block."""
    full = f"""
import errno, io, os
from ssltoolkit.training import monitor
from tensorboardX.record_writer import RecordWriter
count = []

def full(write):
    def refused(self, *arguments):
        count.append(1)
        if len(count) > 40:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(self, *arguments)
    return refused

if {name!r} == "tensorboard":
    RecordWriter.write = full(RecordWriter.write)
else:
    class Stream(io.TextIOWrapper):
        write = full(io.TextIOWrapper.write)
    monitor.open = lambda path, mode, encoding: Stream(open(path, mode + "b"), encoding)
"""
    (run_dir / "hurt.py").write_text(full)
    process = start(
        "exp",
        "training.max_steps=200",
        "training.log_interval=1",
        "training.valid_interval=1000",
        "training.checkpoint_interval=1000",
    )
    output, _ = process.communicate(timeout=60)
    assert (
        process.returncode == 2
        and f"error: exp/{name}: cannot be written: No space left on device; free some space" in output
    ), output
    assert "Traceback" not in output and not (run_dir / "exp/lock").exists()


def test_a_write_that_names_no_file(capsys):
    def main(argv=None):
        raise OSError(errno.ENOSPC, "No space left on device")

    assert command_line.run(main) == 2
    assert "error: cannot write: No space left on device; free some space" in capsys.readouterr().err
