"""egs/urban_sed: strong labels as text and as JAMS."""

import shutil

import pytest
from fixtures.recipes import QUICK

EVALUATE = [*QUICK, "--stop_stage", "8"]


@pytest.mark.parametrize("kind", ["txt", "jams"])
def test_urban_sed(recipe, dataset, checkpoint, kind, tmp_path):
    urban = recipe("urban_sed")
    stop = ["--stop_stage", "1"] if kind == "jams" else []
    options = ["--local_data_opts", f"--partial true --annotations {kind}", "--pretrained", checkpoint]
    status, output = urban.run(*options, *EVALUATE, *stop, URBAN_SED=dataset("urban_sed"))
    assert status == 0, output[-3000:]
    events = (urban.folder / "data/urban_sed/train/events.tsv").read_text().splitlines()
    assert len(events) == 9 and "soundscape_train_bimodal1\t0.500000\t1.200000\tsiren" in events
    if kind == "txt":
        assert "event_onset_200ms_fms" in urban.scores("pretrained", "urban_sed")["scores"]
        return
    status, output = urban.run(
        "--stop_stage", 1, "--local_data_opts", "--annotations jams", URBAN_SED=dataset("urban_sed")
    )
    assert status == 2 and "4 of 6,000 train scenes; 2 of 2,000 validate scenes" in output
    part = tmp_path / "part"
    shutil.copytree(dataset("urban_sed"), part)
    (part / "annotations/test/soundscape_test_uniform0.jams").write_text("{}")
    status, output = urban.run(
        "--stop_stage", 1, "--local_data_opts", "--partial true --annotations jams", URBAN_SED=part
    )
    assert status == 2 and "soundscape_test_uniform0.jams:1: not a JAMS annotation" in output
