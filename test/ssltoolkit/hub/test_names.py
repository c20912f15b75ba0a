"""hub/names.py: owner/name is resolved through the cache of huggingface_hub, offline if the model is cached."""

import builtins
import shutil

import pytest

from ssltoolkit.embedding import SHIPPED, FrozenModel
from ssltoolkit.errors import UserError
from ssltoolkit.hub.names import is_repository

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """A cache with one repository, in the library's layout, in offline mode."""
    constants = pytest.importorskip("huggingface_hub.constants", reason="needs the extra hub")
    repository = tmp_path / "hub/models--someone--general"
    shutil.copytree(SHIPPED, repository / "snapshots" / COMMIT)
    (repository / "refs").mkdir()
    for name in ("main", "v1"):
        (repository / "refs" / name).write_text(COMMIT)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "hub"


def test_a_name_is_found_in_the_cache(cache):
    shipped = FrozenModel.from_pretrained("shipped")
    for name in ("someone/general", "someone/general@v1", f"someone/general@{COMMIT}"):
        model = FrozenModel.from_pretrained(name)
        assert model.identity == {"model": name, "model_hash": shipped.identity["model_hash"]}


def test_what_is_not_there_is_said(cache):
    for name in ("someone/other", "someone/general@v2"):
        with pytest.raises(UserError, match=f"{name}: no such folder here, and not in the cache of huggingface_hub"):
            FrozenModel.from_pretrained(name)


def test_a_folder_comes_before_a_repository(cache, tmp_path):
    FrozenModel.from_pretrained("baseline:logmel").save_pretrained(tmp_path / "someone/general")
    assert FrozenModel.from_pretrained("someone/general").scene_dim == 128


def test_without_the_library_the_extra_is_named(tmp_path, monkeypatch):
    real = builtins.__import__

    def missing(name, *arguments, **options):
        if name.startswith("huggingface_hub"):
            raise ImportError(name)
        return real(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", missing)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        UserError, match=r"someone/general: no such file or folder here; .* pip install 'ssltoolkit\[hub\]'"
    ):
        FrozenModel.from_pretrained("someone/general")


def test_paths_are_not_repositories():
    assert is_repository("someone/general") and is_repository("some-one/gen.eral@main")
    for path in ("general", "/a/b", "./a/b", "../b", "a/b/c", "exp/best.pt", "a/b.onnx", "a b/c", "~/model"):
        assert not is_repository(path)
