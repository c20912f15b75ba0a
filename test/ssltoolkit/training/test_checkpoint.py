"""training/checkpoint.py: checkpoints are written completely or not at all, and no code in them is executed."""

import os
import pickle
from pathlib import Path

import pytest
import torch

from ssltoolkit.errors import UserError
from ssltoolkit.training import checkpoint
from ssltoolkit.training.checkpoint import load_checkpoint, resume_checkpoint, rotate_last, save_checkpoint

CONTENT = {"config": {"a": [1, "x", None, 2.5]}, "model": {"w": torch.arange(5.0)}, "best": float("inf")}


def content(step):
    return {**CONTENT, "step": step}


def save_next(folder, step):
    """Save the next checkpoint as the trainer does."""
    rotate_last(folder)
    save_checkpoint(folder / "last.pt", content(step))


def error_of(path):
    with pytest.raises(UserError) as caught:
        load_checkpoint(path)
    assert str(caught.value).startswith(f"{path}: ") and "\n" not in str(caught.value)
    return str(caught.value)


def test_comes_back_with_versions_and_checksum(tmp_path):
    save_checkpoint(tmp_path / "a.pt", content(3))
    loaded = load_checkpoint(tmp_path / "a.pt")
    assert (
        loaded["config"] == CONTENT["config"]
        and loaded["model"]["w"].equal(CONTENT["model"]["w"])
        and loaded["step"] == 3
    )
    assert loaded["versions"]["torch"] == str(torch.__version__) and loaded["commit"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.pt", "a.pt.sha256"]
    digest, name = (tmp_path / "a.pt.sha256").read_text().split()
    assert name == "a.pt" and digest == checkpoint.file_hash(tmp_path / "a.pt")


def test_wrong_checksum(tmp_path):
    path = tmp_path / "a.pt"
    save_checkpoint(path, content(1))
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))
    assert "checksum differs" in error_of(path)
    save_checkpoint(path, content(1))
    (tmp_path / "a.pt.sha256").write_text("")
    assert "checksum differs" in error_of(path)


@pytest.mark.parametrize(
    "damage", [lambda d: b"", lambda d: b"text", lambda d: d[:50], lambda d: d[: len(d) // 2], lambda d: d[:-1]]
)
def test_damaged_without_checksum(tmp_path, damage):
    path = tmp_path / "a.pt"
    save_checkpoint(path, content(1))
    (tmp_path / "a.pt.sha256").unlink()
    path.write_bytes(damage(path.read_bytes()))
    assert "not a readable checkpoint" in error_of(path)


def test_other_content(tmp_path):
    assert "no such checkpoint" in error_of(tmp_path / "none.pt")
    for other in ([1, 2], {"state_dict": {}}, {"config": {}}, torch.zeros(3)):
        torch.save(other, tmp_path / "a.pt")
        assert "not a checkpoint of this toolkit" in error_of(tmp_path / "a.pt")


class Hostile:
    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.system, (f"touch {self.mark}",)


@pytest.mark.parametrize(
    "writer",
    [lambda value, path: torch.save(value, path), lambda value, path: Path(path).write_bytes(pickle.dumps(value))],
)
def test_a_hostile_checkpoint_executes_nothing(tmp_path, writer):
    path, mark = tmp_path / "a.pt", tmp_path / "executed"
    writer({**content(1), "random": Hostile(mark)}, path)
    assert "not a readable checkpoint" in error_of(path)
    assert not mark.exists()
    path.rename(tmp_path / "last.pt")
    with pytest.raises(UserError, match="no checkpoint can be read; delete this folder"):
        resume_checkpoint(tmp_path)
    assert not mark.exists()


def test_resume_takes_the_newest_readable(tmp_path, capsys):
    assert resume_checkpoint(tmp_path) is None
    for step in (1, 2, 3):
        save_next(tmp_path, step)
    assert resume_checkpoint(tmp_path)["step"] == 3
    last = tmp_path / "last.pt"
    last.write_bytes(last.read_bytes()[:100])
    assert resume_checkpoint(tmp_path)["step"] == 2
    assert "last.pt: damaged" in capsys.readouterr().err
    assert not last.exists() and (tmp_path / "last.pt.damaged").stat().st_size == 100
    assert resume_checkpoint(tmp_path)["step"] == 2


@pytest.mark.parametrize("killed_in_resume", [False, True])
def test_a_damaged_checkpoint_does_not_replace_the_good_one(tmp_path, monkeypatch, killed_in_resume):
    """A kill in the first save after falling back to the previous checkpoint leaves that one in place."""
    for step in (1, 2):
        save_next(tmp_path, step)
    last = tmp_path / "last.pt"
    last.write_bytes(last.read_bytes()[:-1] + b"?")
    if killed_in_resume:
        monkeypatch.setattr(Path, "unlink", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            resume_checkpoint(tmp_path)
        monkeypatch.undo()
    assert resume_checkpoint(tmp_path)["step"] == 1
    rotate_last(tmp_path)
    assert resume_checkpoint(tmp_path)["step"] == 1


def test_checkpoint_and_checksum_are_on_disk_before_they_get_their_names(tmp_path, monkeypatch):
    synced, named = [], []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda file: synced.append(os.fstat(file).st_ino) or fsync(file))
    monkeypatch.setattr(
        os, "replace", lambda old, new: named.append((os.stat(old).st_ino in synced, str(new))) or replace(old, new)
    )
    save_checkpoint(tmp_path / "a.pt", content(1))
    assert named == [(True, str(tmp_path / "a.pt")), (True, str(tmp_path / "a.pt.sha256"))]
    assert load_checkpoint(tmp_path / "a.pt")["step"] == 1 and len(list(tmp_path.iterdir())) == 2


def test_a_failed_write_leaves_the_old_one(tmp_path, monkeypatch):
    path = tmp_path / "a.pt"
    save_checkpoint(path, content(1))

    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(UserError, match="a.pt: cannot write the checkpoint: .*No space left.*free some space"):
        save_checkpoint(path, content(2))
    assert load_checkpoint(path)["step"] == 1 and len(list(tmp_path.iterdir())) == 2


def test_a_folder_that_is_not_there_is_not_a_full_disk(tmp_path):
    with pytest.raises(
        UserError,
        match="b/a.pt: cannot write the checkpoint: .*No such file or directory.*; check that its folder exists",
    ):
        save_checkpoint(tmp_path / "b/a.pt", content(1))


@pytest.mark.parametrize("survived", range(12))
def test_killed_between_any_two_file_operations(tmp_path, monkeypatch, survived):
    """Whichever operation is the last before the kill, a checkpoint of the last two saves can be read."""
    for step in (1, 2):
        save_next(tmp_path, step)
    left = survived

    def dying(operation):
        def call(*arguments, **keywords):
            nonlocal left
            if left == 0:
                raise KeyboardInterrupt
            left -= 1
            return operation(*arguments, **keywords)

        return call

    with monkeypatch.context() as patch:
        for owner, name in ((os, "replace"), (Path, "write_text"), (Path, "unlink"), (Path, "replace"), (os, "fsync")):
            patch.setattr(owner, name, dying(getattr(owner, name)))
        try:
            save_next(tmp_path, 3)
            killed = False
        except KeyboardInterrupt:
            killed = True
    state = resume_checkpoint(tmp_path)
    assert state is not None and state["step"] >= (2 if killed else 3)
    save_next(tmp_path, 4)
    assert resume_checkpoint(tmp_path)["step"] == 4
