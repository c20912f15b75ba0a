"""Every configuration that is shipped resolves and builds."""

from pathlib import Path

import pytest

from ssltoolkit.config import load_config, resolve_config
from ssltoolkit.stages.pretrain import build_model

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted(path for path in ROOT.glob("egs/*/*/conf/**/*.yaml"))


def test_there_are_some():
    assert {"paper.yaml", "default.yaml"} <= {path.name for path in FILES}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT / "egs")))
def test_builds(path):
    config = load_config(path)
    assert resolve_config(config) == config
    model = build_model(config)
    assert set(model.strategies) == set(config["strategies"])
