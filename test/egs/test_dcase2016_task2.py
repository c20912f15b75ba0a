"""egs/dcase2016_task2: sound event detection from stage 1 to the report."""

import shutil

from fixtures.recipes import QUICK


def test_from_the_archives_to_the_report(recipe, dataset, checkpoint):
    dcase = recipe("dcase2016_task2")
    options = ["--local_data_opts", "--partial true", "--pretrained", checkpoint]
    status, output = dcase.run(*options, *QUICK, DCASE2016_TASK2=dataset("dcase2016_task2"))
    assert status == 0, output[-3000:]
    assert {"event_onset_200ms_fms", "segment_1s_er"} <= set(dcase.scores("pretrained", "dcase2016_task2")["scores"])
    assert "dcase2016_task2" in (dcase.folder / "exp/main/RESULTS.md").read_text()
    counts = [
        len((dcase.folder / f"data/dcase2016_task2/{split}/wav.scp").read_text().splitlines())
        for split in ("train", "valid", "test")
    ]
    assert counts == [4, 1, 1]
    heard = "".join((dcase.folder / f"data/{name}/wav.scp").read_text() for name in ("pretrain", "pretrain_valid"))
    tested = (dcase.folder / "data/dcase2016_task2/test/wav.scp").read_text().split()[1]
    assert tested not in heard and "cough012.wav" in heard and "ebr_0_nec" in heard


def test_published_splits(recipe, dataset):
    dcase = recipe("dcase2016_task2")
    options = ["--stop_stage", "1", "--local_data_opts", "--partial true --split published"]
    status, output = dcase.run(*options, DCASE2016_TASK2=dataset("dcase2016_task2"))
    assert status == 0, output
    events = (dcase.folder / "data/dcase2016_task2/train/events.tsv").read_text().splitlines()
    assert "cough012\t0.000000\t0.500000\tcough" in events and len(events) == 12
    assert (dcase.folder / "data/dcase2016_task2/valid/events.tsv").read_text().count(
        "dev_1_ebr_-6_nec_1_poly_0\t"
    ) == 3


def test_wrong_copies(recipe, dataset, tmp_path):
    part = tmp_path / "part"
    shutil.copytree(dataset("dcase2016_task2"), part)
    (part / "dcase2016_task2_test_public/sound/test_1_ebr_0_nec_2_poly_0.wav").unlink()
    dcase = recipe("dcase2016_task2")
    status, output = dcase.run("--stop_stage", "1", DCASE2016_TASK2=part)
    assert (
        status == 2
        and "2 of 54 scenes in dcase2016_task2_test_public (missing: test_1_ebr_0_nec_2_poly_0.wav)" in output
    ), output
    note = part / "dcase2016_task2_train_dev/dcase2016_task2_dev/annotation/dev_1_ebr_0_nec_2_poly_0.txt"
    for wrong in ("0.5\t1.0\tsneeze", "1,2\t1.5\tcough", "1.0\t0.5\tcough", "0.5\tcough", "0.5\tnan\tcough"):
        note.write_text(f"{wrong}\n")
        status, output = dcase.run("--stop_stage", "1", "--local_data_opts", "--partial true", DCASE2016_TASK2=part)
        assert (
            status == 2
            and f"{note.name}:1: expected onset < offset in s and one of" in output
            and "Traceback" not in output
        )
