"""Tasks from Kaldi-style directories: targets, folds, subsets and errors that name file and line."""

import numpy as np
import pytest
from embedding_corpus import LABELS, PITCHES, clip_corpus, sed_corpus, write_dir, write_lines

from ssltoolkit.errors import UserError
from ssltoolkit.evaluation.eval_split import join
from ssltoolkit.evaluation.evaluator import stratified
from ssltoolkit.evaluation.store import EmbeddingWriter
from ssltoolkit.evaluation.task_loading import load_task
from ssltoolkit.tasks.classes import check_test_labels


def load(kind, root, **options):
    return load_task(kind, root / "embed", root / "data", **options)


def test_multiclass_targets_follow_the_sorted_vocabulary(tmp_path):
    task = load("clip", clip_corpus(tmp_path))
    assert task.vocabulary == sorted(LABELS) and not task.multilabel and task.metrics == ("top1_acc",)
    assert task.splits["test"].targets.tolist() == [i % 3 for i in range(24)]
    assert task.rounds == [(["train"], ["valid"], ["test"])]


def test_several_labels_make_a_multilabel_task(tmp_path):
    task = load("clip", clip_corpus(tmp_path, multilabel=True))
    assert task.multilabel and task.metrics == ("mAP", "aucroc", "d_prime")
    assert task.splits["train"].targets.sum(axis=1).tolist() == [1 + i % 2 for i in range(48)]
    with pytest.raises(UserError, match="multiclass, but some utterances"):
        load("clip", tmp_path, options={"label_kind": "multiclass"})


def test_one_label_each_can_still_be_multilabel(tmp_path):
    assert load("clip", clip_corpus(tmp_path), options={"label_kind": "multilabel"}).splits["test"].targets.shape == (
        24,
        3,
    )


def test_pitches_are_sorted_by_number(tmp_path):
    assert load("pitch", clip_corpus(tmp_path, kind="pitch")).vocabulary == [str(p) for p in PITCHES]


def test_frames_carry_the_labels_of_the_events_over_them(tmp_path):
    split = load("sed", sed_corpus(tmp_path)).splits["test"]
    assert split.targets.shape == (24 * 100, 3) and split.bounds[-1] == 2400
    for file, label, onset, offset in zip(*split.events):
        here = slice(split.bounds[file], split.bounds[file + 1])
        on = (split.times_ms[here] >= 1000 * onset) & (split.times_ms[here] < 1000 * offset + 1e-4)
        assert split.targets[here][on, label].all() and on.any()


def test_rows_follow_the_data_directory_not_the_order_of_writing(tmp_path):
    clip_corpus(tmp_path)
    with EmbeddingWriter(tmp_path / "embed" / "test", "scene", 16, {"model": "m", "model_hash": "m"}) as writer:
        for number in reversed(range(24)):
            writer.add(f"test{number:03d}", np.full(16, number))
    features = load("clip", tmp_path).splits["test"].features()
    assert features.take(np.arange(24))[:, 0].tolist() == list(range(24))


def test_join_and_subset_keep_rows_targets_and_events_together(tmp_path):
    task = load("sed", sed_corpus(tmp_path))
    both = join([task.splits["valid"], task.splits["test"]])
    part = both.subset(np.array([3, 30]))
    assert part.utt_ids == ["valid003", "test006"] and part.bounds.tolist() == [0, 100, 200]
    for new, split, old in ((0, task.splits["valid"], 3), (1, task.splits["test"], 6)):
        rows = slice(split.bounds[old], split.bounds[old + 1])
        np.testing.assert_array_equal(part.targets[100 * new : 100 * new + 100], split.targets[rows])
        got, wanted = (e.onset[e.file == f].tolist() for e, f in ((part.events, new), (split.events, old)))
        assert got == wanted
        np.testing.assert_array_equal(
            part.features().take(np.arange(100 * new, 100 * new + 100)),
            split.features().take(np.arange(rows.start, rows.stop)),
        )


def test_a_fraction_keeps_every_class(tmp_path):
    split = load("clip", clip_corpus(tmp_path)).splits["train"]
    kept = stratified(split, 0.05, 3)
    assert sorted(split.targets[kept].tolist()) == [0, 1, 2] and (np.diff(kept) > 0).all()
    assert len(stratified(split, 0.5, 3)) == 24


def kfold_corpus(root, folds=4):
    utts = [f"u{i:02d}" for i in range(24)]
    rng = np.random.default_rng(0)
    tables = {
        "utt2label": {u: LABELS[i % 3] for i, u in enumerate(utts)},
        "utt2fold": {u: str(1 + i % folds) for i, u in enumerate(utts)},
    }
    write_dir(root / "data", utts, **tables)
    with EmbeddingWriter(root / "embed", "scene", 4, {"model_hash": "h"}) as writer:
        for utt in utts:
            writer.add(utt, rng.normal(size=4))
    return root


def test_folds_rotate(tmp_path):
    task = load("clip", kfold_corpus(tmp_path))
    assert task.rounds[0] == (["fold3", "fold4"], ["fold2"], ["fold1"])
    assert task.rounds[3] == (["fold2", "fold3"], ["fold1"], ["fold4"])
    assert sum(len(split.utt_ids) for split in task.splits.values()) == 24


def test_two_folds_are_too_few(tmp_path):
    with pytest.raises(UserError, match="utt2fold: k-fold needs at least 3 folds"):
        load("clip", kfold_corpus(tmp_path, folds=2))


def replace_line(path, number, text):
    lines = path.read_text().splitlines()
    lines[number - 1] = text
    write_lines(path, lines)


def test_a_missing_split_is_named(tmp_path):
    clip_corpus(tmp_path)
    (tmp_path / "data" / "valid" / "wav.scp").unlink()
    with pytest.raises(UserError, match=r"data/valid/wav\.scp: no such file"):
        load("clip", tmp_path)


def test_missing_embeddings_are_named(tmp_path):
    clip_corpus(tmp_path)
    (tmp_path / "embed" / "valid" / "meta.json").unlink()
    with pytest.raises(UserError, match="embed/valid: .*unfinished"):
        load("clip", tmp_path)


def test_a_label_of_test_only_is_named_with_its_line(tmp_path):
    clip_corpus(tmp_path)
    replace_line(tmp_path / "data" / "test" / "utt2label", 5, "test004 whistle")
    with pytest.raises(UserError, match=r"test/utt2label:5: label\(s\) in neither train nor valid: whistle"):
        load("clip", tmp_path)


def test_classes_in_one_fold_only_are_noted():
    labels = {str(fold): {f"u{fold}": ["a"], f"v{fold}": ["b", "c"] if fold == 2 else ["b"]} for fold in range(3)}
    rounds = [([], [], [str(fold)]) for fold in range(3)]
    notes = check_test_labels("utt2label", {}, labels, rounds, False)
    assert notes == ["1 class(es) are in one fold only, no probe can learn them: c"]


def test_an_event_after_the_end_of_its_file_is_named_with_its_line(tmp_path):
    sed_corpus(tmp_path)
    path = tmp_path / "data" / "test" / "events.tsv"
    replace_line(path, 3, "test000\t3.5\t4.2\tbell")
    with pytest.raises(UserError, match=r"events\.tsv:3: event 'bell' of 'test000' ends at 4\.2 s, after .* 4 s"):
        load("sed", tmp_path)


def test_embeddings_of_two_models_are_refused(tmp_path):
    clip_corpus(tmp_path)
    other = clip_corpus(tmp_path / "other", model="n")
    (tmp_path / "embed" / "test").rename(tmp_path / "old")
    (other / "embed" / "test").rename(tmp_path / "embed" / "test")
    with pytest.raises(UserError, match="two models must not be mixed"):
        load("clip", tmp_path)


def test_the_wrong_kind_of_embedding_is_refused(tmp_path):
    clip_corpus(tmp_path / "clip")
    sed_corpus(tmp_path / "sed")
    with pytest.raises(UserError, match="scene embeddings; task sed needs frame ones"):
        load_task("sed", tmp_path / "clip" / "embed", tmp_path / "sed" / "data")


def test_embeddings_of_other_data_are_refused(tmp_path):
    clip_corpus(tmp_path)
    for name in ("wav.scp", "utt2label", "utt2dur"):
        path = tmp_path / "data" / "test" / name
        write_lines(path, [line.replace("test023", "test999") for line in path.read_text().splitlines()])
    with pytest.raises(UserError, match="no embedding of utterance 'test999'"):
        load("clip", tmp_path)


def test_the_data_hash_sees_labels_and_event_times(tmp_path):
    before = load("sed", sed_corpus(tmp_path)).data_hash
    path = tmp_path / "data" / "test" / "events.tsv"
    replace_line(path, 2, "test000\t0.1\t0.4\tbell")
    assert load("sed", tmp_path).data_hash != before
