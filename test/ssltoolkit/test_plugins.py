"""Plugins: one new file adds a component, and errors name the place and the cause."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from ssltoolkit.config import load_config
from ssltoolkit.errors import ConfigError
from ssltoolkit.registry import REGISTRY
from ssltoolkit.stages.pretrain import build_model

ROOT = Path(__file__).resolve().parents[2]

SAMPLER = """
import torch

from ssltoolkit.registry import register
from ssltoolkit.samplers import Cut, DensePairs, Sampler, View


@register("sampler", "{name}")
class Neighbours(Sampler):
    \"\"\"Two nearby segments of a clip.\"\"\"

    level = "clip"

    def __init__(self, reach: float = 0.5) -> None:
        super().__init__(a=View(Cut("anchor")), b=View(Cut("near", "anchor", reach), draw=1))

    def compare(self, views, grid, rng):
        return DensePairs("a", "b", torch.eye(grid.size)[None])
"""


def error_of(path, *overrides):
    with pytest.raises(ConfigError) as caught:
        build_model(load_config(path, overrides))
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture
def plugin(tmp_path):
    def write(text, name="mine.py"):
        path = tmp_path / name
        path.write_text(textwrap.dedent(text))
        return path

    return write


def test_one_file_adds_a_sampler(plugin, tiny_yaml, monkeypatch, tmp_path_factory):
    plugin(SAMPLER.format(name="test_neighbours"), "sub.py")
    tiny_yaml.write_text("plugins: [sub.py]\n" + tiny_yaml.read_text())
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))  # paths are relative to the YAML file
    config = load_config(tiny_yaml, ["strategies.clip.sampler={name: test_neighbours, reach: 0.2}"])
    assert config["strategies"]["clip"]["sampler"] == {"name": "test_neighbours", "reach": 0.2}
    assert [cut.max_offset for cut in build_model(config).cuts if cut.name == "near"] == [0.2]
    assert REGISTRY.component("sampler", "test_neighbours").plugin
    text = error_of(tiny_yaml, "strategies.clip.sampler={name: test_neighbour, reach: 0.2}")
    assert "strategies.clip.sampler.name" in text and "did you mean 'test_neighbours'?" in text
    text = error_of(tiny_yaml, "strategies.clip.sampler={name: test_neighbours, reahc: 1}")
    assert "strategies.clip.sampler.reahc" in text and "did you mean 'reach'?" in text


def test_resolved_plugins_load_again(plugin, tiny_yaml, tmp_path, monkeypatch):
    file = plugin(SAMPLER.format(name="test_again"), "again.py")
    tiny_yaml.write_text("plugins: [again.py]\n" + tiny_yaml.read_text())
    assert load_config(tiny_yaml)["plugins"] == [str(file)]


@pytest.mark.parametrize(
    "text, parts",
    [
        ("x = 1\nimport no_such_module_at_all\n", [":2: ModuleNotFoundError", "no_such_module_at_all"]),
        ("def f(:\n", [":1: SyntaxError"]),
        ("\n\nraise ValueError('out of paint')\n", [":3: ValueError: out of paint"]),
        (
            "from ssltoolkit.registry import register\n@register('samplr', 'x')\nclass X: pass\n",
            ["no kind of component 'samplr'", "did you mean 'sampler'?"],
        ),
        (
            "from ssltoolkit.registry import register\n@register('sampler', 'test_orphan')\nclass Orphan: pass\n",
            ["sampler 'test_orphan'", "write class Orphan(Sampler)"],
        ),
        (SAMPLER.format(name="clip"), ["sampler 'clip'", "already registered by", "samplers/clip.py"]),
        (
            "from ssltoolkit.registry import register\n"
            + "".join(f"@register('head', 'test_twice')\ndef f{k}(a: int) -> None: pass\n" for k in range(2)),
            ["head 'test_twice'", "already registered"],
        ),
    ],
)
def test_plugin_that_fails_to_import(plugin, tiny_yaml, text, parts):
    path = plugin(text, "broken.py")
    message = error_of(tiny_yaml, f"plugins=[{path}]")
    assert message.startswith("plugins[0]: ") and str(path) in message, message
    assert all(part in message for part in parts), message


def test_a_built_in_name_is_refused_in_a_fresh_process_too(plugin, tiny_yaml, program):
    path = plugin(SAMPLER.format(name="clip"), "thief.py")
    done = program("check-config", tiny_yaml, "--set", f"plugins=[{path}]")
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1
    assert "plugins[0]" in done.stderr and "samplers/clip.py" in done.stderr and "thief.py" in done.stderr


def test_missing_plugins(tiny_yaml, tmp_path):
    message = error_of(tiny_yaml, "plugins=[none.py]")
    assert message.startswith("plugins[0]: no plugin file 'none.py'") and str(tmp_path / "none.py") in message
    message = error_of(tiny_yaml, "plugins=[no_such_module_at_all]")
    assert message.startswith("plugins[0]: plugin 'no_such_module_at_all': no such module is installed; ")
    assert message.endswith("write its extension: no_such_module_at_all.py")
    assert error_of(tiny_yaml, "plugins=[3]").startswith("plugins[0]: expected a file or module name, got 3")
    assert error_of(tiny_yaml, "plugins=some.py").startswith("plugins: expected a list")


def test_a_failed_plugin_can_be_fixed_and_loaded(plugin, tiny_yaml):
    path = plugin(SAMPLER.format(name="test_fixed") + "\nraise ValueError('not yet')\n", "fixed.py")
    error_of(tiny_yaml, f"plugins=[{path}]")
    plugin(SAMPLER.format(name="test_fixed"), "fixed.py")
    load_config(tiny_yaml, [f"plugins=[{path}]", "strategies.clip.sampler=test_fixed"])


TRANSFORM = """
from dataclasses import dataclass
from typing import Sequence, Tuple

from ssltoolkit.registry import register
from ssltoolkit.transforms import Transform

{decorators}
class Fade(Transform):
    domain = "mel"
{constructor}
    def draw(self, size, rng):
        return {{"depth": rng.random(size)}}

    def apply(self, x, params, generator):
        return x * params["depth"].float()[:, None, None]
"""
PLAIN = "    def __init__(self, depths: Sequence[float] = (0.5,)) -> None:\n        self.depths = depths\n"
FIELDS = "    depths: Tuple[float, ...] = (0.5,)\n"


@pytest.mark.parametrize(
    "name, decorators, constructor, right",
    [
        ("fade0", "@dataclass(frozen=True)", FIELDS, True),
        ("fade1", "", PLAIN, False),  # two instances are never equal and print their addresses
        ("fade2", "@dataclass", FIELDS, False),
        ("fade3", "@dataclass(frozen=True, eq=False)", FIELDS, False),
        ("fade4", "@dataclass(frozen=True, repr=False)", FIELDS, False),
        # a list is not hashable
        ("fade5", "@dataclass(frozen=True)", FIELDS.replace("Tuple[float, ...]", "Sequence[float]"), False),
    ],
)
def test_transforms_are_plain_values(plugin, tiny_yaml, name, decorators, constructor, right):
    plugin(
        TRANSFORM.format(decorators=f'@register("transform", "{name}")\n{decorators}', constructor=constructor),
        f"{name}.py",
    )
    tiny_yaml.write_text(f"plugins: [{name}.py]\n" + tiny_yaml.read_text())
    change = f"strategies.clip.sampler={{name: clip, anchor: [{{name: {name}, depths: [0.1, 0.2]}}]}}"
    if right:
        build_model(load_config(tiny_yaml, [change]))
    else:
        text = error_of(tiny_yaml, change)
        assert text.startswith(
            "strategies.clip.sampler.transforms: contain a Fade, which cannot be compared; put @dataclass("
        )


@pytest.fixture
def mistaken(plugin, tiny_yaml):
    """mistaken(name, old, new): a configuration whose clip strategy has the sampler above with one mistake."""

    def make(name, old, new):
        assert SAMPLER.count(old) == 1
        plugin(SAMPLER.replace(old, new).format(name=name), f"{name}.py")
        lines = tiny_yaml.read_text().splitlines()
        lines = [f"    sampler: {name}" if line.startswith("    sampler: {name: clip,") else line for line in lines]
        tiny_yaml.write_text("\n".join([f"plugins: [{name}.py]", *lines]))
        return tiny_yaml

    return make


@pytest.mark.parametrize(
    "name, old, new, part",
    [
        ("levelless", '    level = "clip"\n', "", ".name: 'levelless' has level None; write level = \"clip\" or"),
        (
            "leveled",
            'level = "clip"',
            'level = "segment"',
            ".name: 'leveled' has level 'segment'; write level = \"clip\" or",
        ),
        (
            "viewless",
            "super().__init__(",
            "dict(",
            ".name: 'viewless' has no views; pass them to super().__init__() in Neighbours",
        ),
        ("mute", "def compare(", "def compares(", ".name: 'mute' compares nothing; write the method compare(self, "),
        (
            "astray",
            '"near", "anchor"',
            '"near", "ancor"',
            ": cut 'near' lies near 'ancor', which has no view; name one of: anchor",
        ),
    ],
)
def test_a_mistake_in_a_sampler_is_told_by_its_key(mistaken, program, name, old, new, part):
    done = program("check-config", mistaken(name, old, new))
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert f"strategies.clip.sampler{part}" in done.stderr


@pytest.mark.parametrize("name, new, role", [("rows", '"c", "b"', "c"), ("columns", '"a", ("b", "d")', "d")])
def test_a_comparison_of_views_that_are_not_there(
    mistaken, format_data, make_waves, tmp_path, program, name, new, role
):
    config, data = mistaken(f"strange_{name}", '"a", "b"', new), format_data("train", make_waves(6))
    done = program("pretrain", "--config", config, "--train_dir", data, "--exp_dir", tmp_path / "exp")
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert "strategies.clip.sampler: compare() of Neighbours (" in done.stderr
    assert f".py:17) names the view '{role}', it asks for: a, b; name one of these" in done.stderr


def test_a_plugin_may_import_the_model_before_anything_else(tmp_path):
    (tmp_path / "own.py").write_text("from ssltoolkit.model import SSLModel\n")
    (tmp_path / "own.yaml").write_text(f"plugins: [own.py]\ninclude: {ROOT / 'egs/TEMPLATE/ssl1/conf/default.yaml'}\n")
    code = "from ssltoolkit.config import load_config; load_config('own.yaml')"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
