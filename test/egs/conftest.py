"""Fixtures that run copies of recipes, from stage 1 to the report, on miniatures of their datasets."""

import pytest
from fixtures.recipes import ROOT, SMALL, Recipe


@pytest.fixture
def recipe(tmp_path):
    """recipe("esc50", ...): a copy of that recipe and of the others it uses."""
    return lambda *names: Recipe(tmp_path, *names)


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory):
    """A checkpoint of a model with a few thousand parameters, trained for two steps; every recipe can evaluate it."""
    import soundfile
    from fixtures.sounds import wave

    from ssltoolkit.bin import pretrain
    from ssltoolkit.stages.format import Formatter

    folder = tmp_path_factory.mktemp("checkpoint")
    (folder / "data").mkdir()
    for number in range(4):
        soundfile.write(folder / f"{number}.wav", wave(1.0, 16000, "clip", 50 + number), 16000)
    (folder / "data/wav.scp").write_text("".join(f"clip{number} {folder / f'{number}.wav'}\n" for number in range(4)))
    formatter = Formatter(folder / "data", folder / "formatted")
    formatter.run_job(1, 1)
    formatter.finish(0.0)
    (folder / "small.yaml").write_text(f"include: {ROOT / 'egs/TEMPLATE/ssl1/conf/default.yaml'}\n")
    options = ["--config", folder / "small.yaml", "--train_dir", folder / "formatted", "--exp_dir", folder / "exp"]
    assert pretrain.main([*map(str, options), *SMALL.split()]) == 0
    return folder / "exp/last.pt"


@pytest.fixture(scope="session")
def dataset(tmp_path_factory):
    """dataset("esc50"): the folder of that miniature, generated once."""
    from fixtures import datasets

    made = {}

    def get(name):
        if name not in made:
            made[name] = getattr(datasets, name)(tmp_path_factory.mktemp(name))
        return made[name]

    return get
