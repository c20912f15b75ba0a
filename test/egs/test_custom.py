"""egs/custom: another folder of audio does not go on with the first one's model."""

from fixtures.recipes import SMALL
from fixtures.sounds import write


def folder_of(folder, prefix, count=8):
    for number in range(count):
        write(folder / f"{prefix}{number}.wav", 1.0, midi=50 + number)
    return folder


def test_other_audio_with_the_same_tag_is_refused(recipe, tmp_path):
    walk = recipe("custom").run
    options = ["--train_configs", "conf/clip_only.yaml", "--valid_share", "0.3", "--baselines", "", "--nj", "1", "--train_args", SMALL]
    first, second = (folder_of(tmp_path / name, name) for name in ("drums", "birds"))
    status, said = walk("--audio_dir", first, "--stop_stage", "4", *options)
    assert status == 0, said
    status, said = walk("--audio_dir", second, *options)
    assert status == 2, said
    assert "clip_only/last.pt was trained with other training data (" in said and "other statistics (--stats); give another exper" in said
    assert "Traceback" not in said and "continuing from step" not in said
