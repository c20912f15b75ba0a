"""egs/fsdd: the test speakers are in neither probe training nor pre-training; downloads."""

import shutil

from fixtures.recipes import QUICK

EVALUATE = [*QUICK, "--stop_stage", "8"]


def test_fsdd_by_speaker(recipe, dataset, checkpoint):
    fsdd = recipe("fsdd")
    options = [
        "--local_data_opts",
        "--partial true --test_speakers george --valid_speakers theo",
        "--pretrained",
        checkpoint,
    ]
    status, output = fsdd.run(*options, *EVALUATE, FSDD=dataset("fsdd"))
    assert status == 0, output[-3000:]
    assert "top1_acc" in fsdd.scores("pretrained", "fsdd")["scores"]
    speakers = {split: set(fsdd.table(f"fsdd/{split}/utt2spk").values()) for split in ("train", "valid", "test")}
    assert speakers == {"train": {"jackson", "lucas"}, "valid": {"theo"}, "test": {"george"}}
    status, output = fsdd.run("--stop_stage", 1, FSDD=dataset("fsdd"))
    assert status == 2 and "24 of 3,000 recordings (missing: 0_george_10.wav" in output
    status, output = fsdd.run(
        "--stop_stage", 1, "--local_data_opts", "--partial true --test_speakers nobody", FSDD=dataset("fsdd")
    )
    assert status == 2 and "--test_speakers: nobody not among the speakers george, jackson, lucas, theo" in output


def test_downloads(recipe, dataset, tmp_path):
    """``FSDD=downloads`` fetches, unpacks and prepares the archive, made of the miniature; a wrong hash is refused."""
    fsdd = recipe("fsdd")
    archive = shutil.make_archive(str(tmp_path / "master"), "zip", dataset("fsdd").parent, dataset("fsdd").name)
    (fsdd.folder / "conf/archives.txt").write_text(f"# folder hash URL\nfsdd - file://{archive}\n")
    status, output = fsdd.run(
        "--stop_stage", 1, "--local_data_opts", "--partial true --test_speakers george", FSDD="downloads"
    )
    assert status == 0 and "no published hash to check" in output, output
    assert str(fsdd.folder / "downloads/fsdd") in (fsdd.folder / "data/fsdd/test/wav.scp").read_text()
    (fsdd.folder / "conf/archives.txt").write_text(f"other md5:{'0' * 32} file://{archive}\n")
    status, output = fsdd.run("--stop_stage", 1, FSDD="downloads")
    assert status == 2 and "expected md5:000" in output and "could not be fetched" in output
