"""Checks that apply to every recipe of a published dataset."""

import json

import pytest
from fixtures.recipes import ROOT

from ssltoolkit.data.recipes import read_archives


def test_archive_lists_are_well_formed():
    lists = sorted(ROOT.glob("egs/*/ssl1/conf/archives.txt"))
    assert len(lists) == 7
    for path in lists:
        for parts in read_archives(path).values():
            for digest, url in parts:
                kind, _, value = digest.partition(":")
                assert digest == "-" or len(value) == {"md5": 32, "sha256": 64}[kind], (path, digest)
                assert url.startswith(("http://", "https://")) and " " not in url


@pytest.mark.parametrize(
    "name", ["fsdd", "esc50", "speech_commands", "nsynth", "dcase2016_task2", "fsd50k", "urban_sed", "audioset"]
)
def test_dry_run_prints_every_stage(recipe, name):
    one = recipe(name)
    status, output = one.run("--dry_run", "true")
    assert status == 0 and all(f" stage {stage}: " in output for stage in range(1, 10)), output
    assert f"data/{name}" in output or name == "audioset"
    assert not (one.folder / "data").exists() and json.dumps(output).count("ssltoolkit evaluate") >= 4
