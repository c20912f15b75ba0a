"""egs/speech_commands: both archives, official lists, silence cut from noise."""

import shutil

from fixtures.recipes import QUICK

EVALUATE = [*QUICK, "--stop_stage", "8"]
PARTIAL = ("--local_data_opts", "--partial true")


def test_speech_commands_with_twelve_classes(recipe, dataset, checkpoint):
    speech = recipe("speech_commands")
    status, output = speech.run(
        *PARTIAL, "--pretrained", checkpoint, *EVALUATE, SPEECH_COMMANDS=dataset("speech_commands")
    )
    assert status == 0, output[-3000:]
    assert "top1_acc" in speech.scores("pretrained", "speech_commands")["scores"]
    train = speech.table("speech_commands/train/utt2label")
    assert sorted(set(train.values())) == ["_silence_", "_unknown_", "no", "yes"] and len(train) == 4 * 5 + 4
    silences = {
        utt: value
        for utt, value in speech.table("speech_commands/valid/segments").items()
        if utt.startswith("_silence_")
    }
    assert [value.split()[1:] for value in silences.values()] == [
        [f"{k / 2:.6f}", f"{k / 2 + 1:.6f}"] for k in range(4)
    ]
    test = speech.table("speech_commands/test/wav.scp")
    assert len(test) == 8 and all("test_set_v0.02" in path for path in test.values())
    assert len(speech.table("pretrain/wav.scp")) == 20


def test_speech_commands_with_all_words(recipe, dataset, tmp_path):
    speech = recipe("speech_commands")
    status, output = speech.run(
        "--stop_stage",
        1,
        "--local_data_opts",
        "--partial true --classes 35",
        SPEECH_COMMANDS=dataset("speech_commands"),
    )
    assert status == 0, output
    assert set(speech.table("speech_commands/test/utt2label").values()) == {"yes", "no", "backward", "visual"}
    part = tmp_path / "part"
    shutil.copytree(dataset("speech_commands"), part)
    shutil.rmtree(part / "speech_commands_test_set_v0.02")
    status, output = speech.run("--stop_stage", 1, *PARTIAL, SPEECH_COMMANDS=part)
    assert status == 2 and "no test archive in it" in output and "--test list" in output
    gone = (part / "speech_commands_v0.02/testing_list.txt").read_text().split()[0]
    (part / "speech_commands_v0.02" / gone).unlink()
    status, output = speech.run("--stop_stage", 1, "--local_data_opts", "--test list", SPEECH_COMMANDS=part)
    assert (
        status == 2
        and "31 of 105,829 spoken words" in output
        and f"3 of 4 of testing_list.txt there (missing: {gone})" in output
    )
