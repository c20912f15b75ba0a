"""Embeddings on disk: round trip, unfinished and damaged folders."""

import numpy as np
import pytest

from ssltoolkit.errors import UserError
from ssltoolkit.evaluation.store import EmbeddingStore, EmbeddingWriter, check_same_model


def write_scenes(path, count=5, dim=3, **meta):
    rows = np.random.default_rng(0).normal(size=(count, dim)).astype(np.float32)
    with EmbeddingWriter(path, "scene", dim, {"model": "m", "model_hash": "h", **meta}) as writer:
        for number, row in enumerate(rows):
            writer.add(f"utt{number}", row)
    return rows


def test_scenes_come_back_as_written(tmp_path):
    rows = write_scenes(tmp_path / "e")
    store = EmbeddingStore(tmp_path / "e")
    np.testing.assert_array_equal(store.matrix, rows)
    assert store.utt_ids == [f"utt{i}" for i in range(5)] and store.rows("utt2") == slice(2, 3)
    assert isinstance(store.matrix, np.memmap) and store.dim == 3 and store.meta["model_hash"] == "h"


@pytest.mark.parametrize("count", [0, 1, 1000])
def test_the_number_of_rows_need_not_be_known_beforehand(tmp_path, count):
    write_scenes(tmp_path / "e", count)
    assert np.load(tmp_path / "e" / "embeddings.npy").shape == (count, 3)


def test_frames_come_back_with_their_times(tmp_path):
    frames = {"a": np.ones((4, 2)), "b": np.zeros((0, 2)), "c": np.full((3, 2), 2.0)}
    with EmbeddingWriter(tmp_path, "frame", 2) as writer:
        for utt, rows in frames.items():
            writer.add(utt, rows, 20.0 + 40.0 * np.arange(len(rows)))
    store = EmbeddingStore(tmp_path)
    np.testing.assert_array_equal(store.matrix[store.rows("c")], frames["c"])
    assert store.timestamps_ms("c").tolist() == [20.0, 60.0, 100.0] and len(store.timestamps_ms("b")) == 0


def test_an_interrupted_folder_is_unfinished_even_over_an_older_one(tmp_path):
    write_scenes(tmp_path)
    with pytest.raises(KeyboardInterrupt), EmbeddingWriter(tmp_path, "scene", 3) as writer:
        writer.add("utt0", np.zeros(3))
        raise KeyboardInterrupt
    with pytest.raises(UserError, match="unfinished"):
        EmbeddingStore(tmp_path)


@pytest.mark.parametrize(
    "array, message",
    [(np.zeros(4), "D = 3"), (np.zeros((1, 3)), "scene embedding"), (np.array([0, np.nan, 0]), "NaN or infinite")],
)
def test_a_wrong_row_is_refused_when_it_is_written(tmp_path, array, message):
    with pytest.raises(UserError, match=f"u1: .*{message}"), EmbeddingWriter(tmp_path, "scene", 3) as writer:
        writer.add("u1", array)


def test_an_utterance_cannot_be_added_twice_nor_with_wrong_times(tmp_path):
    with pytest.raises(UserError, match="twice"), EmbeddingWriter(tmp_path / "a", "scene", 1) as writer:
        writer.add("u", np.zeros(1))
        writer.add("u", np.zeros(1))
    for times in ([1.0], [2.0, 1.0]):
        with pytest.raises(UserError, match="2 increasing timestamps"):
            with EmbeddingWriter(tmp_path / "b", "frame", 1) as writer:
                writer.add("u", np.zeros((2, 1)), np.array(times))


def test_nan_on_disk_names_file_and_utterance(tmp_path):
    write_scenes(tmp_path)
    rows = np.load(tmp_path / "embeddings.npy")
    rows[3, 1] = np.inf
    np.save(tmp_path / "embeddings.npy", rows)
    with pytest.raises(UserError, match=r"embeddings\.npy: row 3 .*'utt3'"):
        EmbeddingStore(tmp_path)


@pytest.mark.parametrize(
    "damage, message",
    [
        (lambda p: (p / "index").write_text("utt0 0 1\nutt1 zero 1\n"), r"index:2: expected"),
        (lambda p: (p / "index").write_text("utt0 0 1\nutt0 1 1\n"), r"index:2: duplicate"),
        (lambda p: (p / "index").write_text("utt0 0 99\n"), r"index:1: .*beyond the end"),
        (lambda p: (p / "index").unlink(), "index: cannot be read"),
        (lambda p: (p / "embeddings.npy").write_bytes(b"junk"), "embeddings.npy: cannot be read"),
        (lambda p: np.save(p / "embeddings.npy", np.zeros((1, 3), np.float32)), "1 rows, meta.json says 5"),
        (lambda p: (p / "meta.json").write_text("{"), "meta.json: not JSON"),
    ],
)
def test_damage_is_named(tmp_path, damage, message):
    write_scenes(tmp_path)
    damage(tmp_path)
    with pytest.raises(UserError, match=message):
        EmbeddingStore(tmp_path)


def test_missing_utterances_folders_and_times(tmp_path):
    write_scenes(tmp_path / "e")
    store = EmbeddingStore(tmp_path / "e")
    with pytest.raises(UserError, match="no embedding of utterance 'other'"):
        store.rows("other")
    with pytest.raises(UserError, match="no timestamps"):
        store.timestamps_ms("utt0")
    with pytest.raises(UserError, match="no such embedding folder"):
        EmbeddingStore(tmp_path / "missing")


def test_two_models_must_not_be_mixed(tmp_path):
    write_scenes(tmp_path / "train")
    write_scenes(tmp_path / "test", model_hash="other")
    stores = [EmbeddingStore(tmp_path / name) for name in ("train", "test")]
    with pytest.raises(UserError, match=r"test/meta\.json: model_hash is 'other' but 'h' in .*train/meta\.json"):
        check_same_model(stores)
