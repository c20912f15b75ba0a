"""egs/fsd50k: several labels per clip, published splits and vocabulary."""

import shutil

from fixtures.recipes import QUICK

EVALUATE = [*QUICK, "--stop_stage", "8"]
PARTIAL = ("--local_data_opts", "--partial true")


def test_fsd50k_with_several_labels(recipe, dataset, checkpoint, tmp_path):
    fsd50k = recipe("fsd50k")
    status, output = fsd50k.run(*PARTIAL, "--pretrained", checkpoint, *EVALUATE, FSD50K=dataset("fsd50k"))
    assert status == 0, output[-3000:]
    assert set(fsd50k.scores("pretrained", "fsd50k")["scores"]) == {"mAP", "aucroc", "d_prime"}
    assert [len(fsd50k.table(f"fsd50k/{split}/utt2label")) for split in ("train", "valid", "test")] == [12, 4, 4]
    assert fsd50k.table("fsd50k/train/utt2label")["64760"] == "Bark,Dog"
    part = tmp_path / "part"
    shutil.copytree(dataset("fsd50k"), part)
    (part / "FSD50K.eval_audio/64779.wav").unlink()
    status, output = fsd50k.run("--stop_stage", 1, FSD50K=part)
    assert (
        status == 2
        and "4 of 200 classes in vocabulary.csv" in output
        and "3 of 4 of them in FSD50K.eval_audio (missing: 64779.wav)" in output
    )
    (part / "FSD50K.ground_truth/dev.csv").write_text('fname,labels,mids,split\n64760,"Bark,Cow","/m/a,/m/b",train\n')
    status, output = fsd50k.run("--stop_stage", 1, *PARTIAL, FSD50K=part)
    assert status == 2 and "dev.csv:2: 64760 has a label or split that is not in FSD50K: Cow" in output
