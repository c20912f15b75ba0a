"""Mistakes in a sampler or a transform of a plugin file: one line that names strategy, class, method, file and fix."""

import itertools
import re

import numpy as np
import pytest
import torch

from ssltoolkit.bin.main import main
from ssltoolkit.config import load_config
from ssltoolkit.data.segments import Batch
from ssltoolkit.errors import PLUGIN_FILES, PluginError, UserError, plugin_error, plugin_errors
from ssltoolkit.registry import REGISTRY, available
from ssltoolkit.stages.pretrain import build_model

PLUGIN = '''
from dataclasses import dataclass

import numpy as np
import torch

from ssltoolkit.registry import register
from ssltoolkit.samplers import BlockPairs, Cut, DensePairs, DifferenceTargets, IndexPairs, Sampler, Transform, View


@register("transform", "NAME_reverse")
@dataclass(frozen=True)
class Reverse(Transform):
    """Play some clips backwards."""

    domain = "wave"
    scope = "clip"

    def draw(self, size, rng):
        return {"flags": rng.random(size) < 0.5}

    def apply(self, x, params, generator):
        return torch.where(params["flags"][:, None], x.flip(1), x)


@register("sampler", "NAME")
class Backwards(Sampler):
    """A clip and its reverse are no positives of each other."""

    level = "clip"
    returns = DensePairs

    def __init__(self) -> None:
        super().__init__(a=View(Cut("anchor")), b=View(Cut("anchor"), [Reverse()], draw=1))

    def compare(self, views, grid, rng):
        flags = views["b"].param("NAME_reverse", "flags")
        n, t = grid.size, grid.frames
        target = torch.eye(n) * torch.from_numpy(~flags).float()
        return DensePairs("a", "b", target[None])
'''
RETURN = 'return DensePairs("a", "b", target[None])'
NAMES = (f"backwards{number}" for number in itertools.count())
SIZE = 5


@pytest.fixture
def mistaken(tiny_yaml, tmp_path):
    """mistaken((old, new), ...): a configuration that trains the sampler above with these changes; (config, plugin)."""

    def make(*changes):
        name, text = next(NAMES), PLUGIN
        for old, new in changes:
            assert text.count(old) == 1, old
            text = text.replace(old, new)
        plugin = tmp_path / f"{name}.py"
        plugin.write_text(text.replace("NAME", name))
        head = tiny_yaml.read_text().split("strategies:")[0]
        tail = "optimizer:" + tiny_yaml.read_text().split("optimizer:")[1]
        strategy = f"  mine:\n    sampler: {name}\n    head: {{name: projection, out_dim: 8}}\n"
        loss = "    loss: {name: info_nce, similarity: {name: cosine}}\n"
        if "returns = DifferenceTargets" in text:
            strategy, loss = strategy.replace("out_dim: 8", "out_dim: 1"), "    loss: {name: difference_regression}\n"
        tiny_yaml.write_text(f"plugins: [{plugin.name}]\n{head}strategies:\n{strategy}{loss}{tail}")
        return tiny_yaml, plugin

    assert available("sampler") and available("transform")  # imports the built-in ones
    registered = {kind: dict(REGISTRY._components[kind]) for kind in ("sampler", "transform")}
    yield make
    REGISTRY._components.update(registered)


def step(config):
    """One forward pass on noise."""
    model = build_model(load_config(config)).eval()
    rng = np.random.default_rng(0)
    waves = {cut: torch.from_numpy(0.1 * rng.standard_normal((SIZE, 15360))).float() for cut in model.cuts}
    starts = {cut: np.zeros(SIZE) for cut in model.cuts}
    return model(Batch(waves, starts, [0, 1], [f"u{k}" for k in range(SIZE)]))


def message(config):
    with pytest.raises(UserError) as caught:
        step(config)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def line_of(plugin, text):
    return next(number for number, line in enumerate(plugin.read_text().splitlines(), 1) if text in line)


def test_the_sampler_without_mistakes(mistaken):
    assert torch.isfinite(step(mistaken()[0]).loss)


FRAMED = ('level = "clip"', 'level = "frame"')
DIFFERENCE = ("returns = DensePairs", "returns = DifferenceTargets")
INDICES = ("returns = DensePairs", "returns = IndexPairs")
FULL = "expected (1, 5, 5), floating-point; "


@pytest.mark.parametrize(
    "changes, told",
    [
        ([(RETURN, "")], "returned None; end it with return DensePairs(...)"),
        (
            [(RETURN, 'return DifferenceTargets("a", "b", target[0])')],
            "returned DifferenceTargets, but the class declares DensePairs; return that, or write returns = Differe",
        ),
        (
            [(RETURN, 'return DensePairs("a", "b", torch.eye(n + 1)[None])')],
            f"returned target of shape (1, 6, 6), torch.float32, {FULL}correct its shape",
        ),
        (
            [(RETURN, 'return DensePairs("a", "b", torch.ones(n))')],
            f"returned target of shape (5,), torch.float32, {FULL}correct its shape",
        ),
        (
            [(RETURN, 'return DensePairs("a", "b", target)')],
            f"returned target of shape (5, 5), torch.float32, {FULL}write target[None]",
        ),
        (
            [(RETURN, 'return DensePairs("a", "b", target[None].bool())')],
            f"returned target of shape (1, 5, 5), torch.bool, {FULL}make it floating-point with .float()",
        ),
        (
            [(RETURN, 'return DensePairs("a", "b", target[None].numpy())')],
            "returned target as a NumPy array; write torch.from_numpy(target)",
        ),
        ([(RETURN, 'return DensePairs("a", "b", [1.0])')], "returned target as list; write a torch.Tensor"),
        (
            [(RETURN, 'return DensePairs("a", ("b", "a"), target[None])')],
            "returned target of shape (1, 5, 5), torch.float32, expected (1, 5, 10), floating-point",
        ),
        (
            [(RETURN, 'return DensePairs("a", "b", target[None], allowed=target[None])')],
            "returned allowed of shape (1, 5, 5), torch.float32, expected (1, 5, 5), torch.bool; make it torch.bool",
        ),
        (
            [(RETURN, 'return DensePairs("a", "b", target[None], anchors=torch.arange(n).int())')],
            "returned anchors of shape (5,), torch.int32, expected (5,), torch.int64; make it torch.int64 with .long()",
        ),
        ([(RETURN, 'return DensePairs("a", "b", target[None], "clips")')], "returned within='clips'; write 'batch' or"),
        (
            [(RETURN, 'return DensePairs("a", "b", target[None], "clip")')],
            "returned within='clip', which compares the frames of a clip; write level = \"frame\" into the class",
        ),
        ([(RETURN, 'return DensePairs("a", 3, target[None])')], "names the view 3, it asks for: a, b"),
        (
            [FRAMED, (RETURN, 'return DensePairs("a", "b", target[None], "clip")')],
            "returned target of shape (1, 5, 5), torch.float32, expected (1, 24, 24) or (5, 24, 24), floating-point",
        ),
        (
            [FRAMED, (RETURN, 'return DensePairs("a", "b", target[None])')],
            "returned target of shape (1, 5, 5), torch.float32, expected (1, 120, 120), floating-point",
        ),
        (
            [(RETURN, 'return BlockPairs("a", "b", torch.ones(n, 1), torch.ones(n), torch.arange(n), n)')],
            "returned own_allowed of shape (5,), torch.float32, expected (5, 1), torch.bool",
        ),
        (
            [
                (
                    RETURN,
                    'return BlockPairs("a", "b", torch.ones(n, 1), torch.ones(n, 1).bool(), torch.arange(n), n - 1)',
                )
            ],
            "returned total=4, but 'b' has 5 columns; correct it",
        ),
        (
            [DIFFERENCE, (RETURN, 'return DifferenceTargets("a", "b", torch.ones(n, t))')],
            "returned value of shape (5, 24), torch.float32, expected (5,), floating-point",
        ),
        (
            [DIFFERENCE, FRAMED, (RETURN, 'return DifferenceTargets("a", "b", torch.ones(n, 1))')],
            "returned value of shape (5, 1), torch.float32, expected (5,) or (5, 24), floating-point",
        ),
        (
            [INDICES, (RETURN, 'i = torch.arange(n); return IndexPairs("a", "b", i, i, i[:, None])')],
            'returned IndexPairs, which compare frames; write level = "frame" into the class',
        ),
        (
            [INDICES, FRAMED, (RETURN, 'i = torch.arange(n); return IndexPairs("a", "b", i, i, i)')],
            "returned negatives of shape (5,), torch.int64, expected (5, 5), torch.int64",
        ),
    ],
)
def test_a_comparison_that_does_not_fit(mistaken, changes, told):
    config, plugin = mistaken(*changes)
    start = f"strategies.mine.sampler: compare() of Backwards ({plugin}:{line_of(plugin, 'def compare')}) "
    said = message(config)
    assert said.startswith(start + told), said


@pytest.mark.parametrize(
    "changes",
    [
        [FRAMED, (RETURN, 'return DensePairs("a", "b", torch.eye(t)[None], "clip")')],
        [FRAMED, (RETURN, 'return DensePairs("a", "b", torch.eye(t).repeat(n, 1, 1).double(), "clip")')],
        [FRAMED, (RETURN, 'i = torch.arange(3); return DensePairs("a", "b", torch.eye(n * t)[None, :3], anchors=i)')],
        [DIFFERENCE, FRAMED, (RETURN, 'return DifferenceTargets("a", "b", torch.ones(n, t))')],
        [DIFFERENCE, FRAMED, (RETURN, 'return DifferenceTargets("a", "b", torch.ones(n).double())')],
        [INDICES, FRAMED, (RETURN, 'i = torch.arange(n); return IndexPairs("a", "b", i, i, i[:, None])')],
    ],
)
def test_comparisons_that_fit(mistaken, changes):
    assert torch.isfinite(step(mistaken(*changes)[0]).loss)


@pytest.mark.parametrize(
    "old, new, told",
    [
        ('"flags")\n', '"flag")\n', "draws no 'flag'; did you mean 'flags'?; it draws flags"),
        ('param("NAME_reverse"', 'param("NAME_revers"', "_revers'; did you mean 'backwards"),
    ],
)
def test_a_parameter_that_no_transform_draws(mistaken, old, new, told):
    config, plugin = mistaken((old, new))
    said = message(config)
    assert said.startswith("strategies.mine.sampler: compare() of Backwards failed at "), said
    assert f"{plugin}:{line_of(plugin, 'flags = ')}: param('" in said and told in said, said


APPLY = 'return torch.where(params["flags"][:, None], x.flip(1), x)'
DRAW = 'return {"flags": rng.random(size) < 0.5}'


@pytest.mark.parametrize(
    "old, new, method, told",
    [
        (APPLY, "return x[:, ::2]", "apply", "returned shape (5, 7680), torch.float32, expected shape (5, 15360), tor"),
        (APPLY, "return x.double()", "apply", "returned shape (5, 15360), torch.float64, expected shape (5, 15360), "),
        (
            APPLY,
            "pass",
            "apply",
            "returned None, expected shape (5, 15360), torch.float32; return a tensor like its in",
        ),
        (DRAW, "pass", "draw", "returned None; return a dict of NumPy arrays"),
        (
            DRAW,
            'return {"flags": True}',
            "draw",
            "returned 'flags' as bool; return a NumPy array of numbers with 5 rows",
        ),
        (DRAW, 'return {"flags": np.ones(3)}', "draw", "returned 'flags' of shape (3,), float64; return a NumPy array"),
        ('domain = "wave"', 'domain = "pitch"', "draw", "returned no 'ratio'; a transform of the domain 'pitch'"),
    ],
)
def test_a_transform_that_draws_or_returns_something_else(mistaken, old, new, method, told):
    config, plugin = mistaken((old, new))
    said = message(config)
    start = f"strategies.mine.sampler, view 'b', transform '{plugin.stem}_reverse': {method}() of Reverse ({plugin}:"
    assert said.startswith(start + f"{line_of(plugin, f'def {method}')}) {told}"), said


@pytest.mark.parametrize(
    "old, new, told",
    [
        (
            'domain = "wave"',
            'domain = "waves"',
            "whose domain is 'waves'; write one of 'wave', 'pitch', 'envelope', 'mel', 'log' ",
        ),
        (
            'domain = "wave"',
            "",
            "whose domain is None; write one of 'wave', 'pitch', 'envelope', 'mel', 'log' into its class",
        ),
        ('scope = "clip"', 'scope = "clips"', "whose scope is 'clips'; write one of 'clip', 'noise', 'batch' into its"),
        ("def apply(", "def applied(", "without the method apply(); write it"),
    ],
)
def test_a_transform_of_an_unknown_domain_or_scope_is_refused_before_training(mistaken, capsys, old, new, told):
    config, plugin = mistaken((old, new))
    assert main(["check-config", str(config)]) == 2
    assert (
        f"{config}: strategies.mine.sampler.transforms: contain a Reverse ({plugin}) {told}" in capsys.readouterr().err
    )


@pytest.mark.parametrize(
    "old, new, where, told",
    [
        (RETURN, "return targett", "sampler: compare() of Backwards", "NameError: name 'targett' is not defined"),
        (APPLY, "raise ValueError('two\\nlines')", "sampler, view 'b', transform 'NAME_reverse': apply() of Reverse",
         "ValueError: two lines"),
        (DRAW, "return size.flags", "sampler, view 'b', transform 'NAME_reverse': draw() of Reverse",
         "AttributeError: 'int' object has no attribute 'flags'"),
        ("super().__init__(a", "super().__init__(z=1 / 0, a", "sampler: __init__() of Backwards", "ZeroDivisionError: "),
    ],
)  # fmt: skip
def test_an_exception_of_a_plugin_names_its_line(mistaken, old, new, where, told):
    config, plugin = mistaken((old, new))
    said, line = message(config), line_of(plugin, new)
    where = where.replace("NAME", plugin.stem)
    assert said.startswith(f"strategies.mine.{where} failed at {plugin}:{line}: {told}"), said
    assert said.endswith("; correct this line (SSLTOOLKIT_TRACEBACK=1 shows the traceback)")


def test_the_original_exception_is_the_cause(mistaken):
    with pytest.raises(PluginError) as caught:
        step(mistaken((RETURN, "return targett"))[0])
    assert isinstance(caught.value.__cause__, NameError)


def test_a_plugins_exception_ends_a_program_with_status_2(
    mistaken, format_data, make_waves, tmp_path, monkeypatch, capsys
):
    (config, plugin), data = mistaken((RETURN, "return targett")), format_data("train", make_waves(6))
    command = ["pretrain", "--config", str(config), "--train_dir", str(data), "--exp_dir", str(tmp_path / "exp")]
    capsys.readouterr()
    assert main(command) == 2
    said = capsys.readouterr().err
    assert "Traceback" not in said and f"{plugin}:{line_of(plugin, 'targett')}: NameError" in said
    monkeypatch.setenv("SSLTOOLKIT_TRACEBACK", "1")
    assert main(command) == 2
    said = capsys.readouterr().err
    assert "Traceback (most recent call last)" in said and said.splitlines()[-1].startswith(
        "ssltoolkit pretrain: error"
    )


def test_an_exception_of_the_toolkit_keeps_its_traceback(mistaken, monkeypatch):
    """Only frames of plugin files make an exception the plugin's."""
    monkeypatch.setattr(torch.nn.functional, "normalize", lambda *args, **keywords: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        step(mistaken()[0])


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("CUDA out of memory"), OSError(28, "No space left")])
def test_a_full_memory_or_disk_is_not_the_plugins_fault(monkeypatch, error):
    monkeypatch.setattr("ssltoolkit.errors.PLUGIN_FILES", {__file__})
    with pytest.raises(type(error)), plugin_errors("here"):
        raise error


def test_an_error_for_the_user_stays_as_it_is(monkeypatch):
    monkeypatch.setattr("ssltoolkit.errors.PLUGIN_FILES", {__file__})
    with pytest.raises(UserError, match="^wrong$"), plugin_errors("here"):
        raise UserError("wrong")
    assert __file__ not in PLUGIN_FILES and plugin_error(ValueError("never raised")) is None


def test_a_forgotten_plugin_is_hinted_at(tiny_yaml, capsys):
    change = "strategies.clip.sampler={name: zigzag}"
    assert main(["check-config", str(tiny_yaml), "--set", change]) == 2
    said = capsys.readouterr().err
    assert re.search(
        r"strategies\.clip\.sampler\.name: no sampler 'zigzag' \(known: .*\); if it is your own, list its file "
        r"under plugins: in the configuration$",
        said.strip(),
    )
    assert main(["describe", "zigzag"]) == 2
    said = capsys.readouterr().err.strip()
    assert said.endswith("lists all); if it is your own, give its file: ssltoolkit describe zigzag --plugins FILE"), (
        said
    )
    options = ["--task", "humidity", "--embed_dir", "e", "--data_dir", "d", "--output", "o.json"]
    assert main(["evaluate", *options]) == 2
    said = capsys.readouterr().err.strip()
    assert ": error: --task: no task 'humidity' (known: " in said, said
    assert said.endswith("; if it is your own, give its file: --plugins FILE"), said


def test_a_misspelt_argument_of_the_toolkit_is_told_with_the_plugins_line(tiny_yaml, tmp_path):
    plugin = tmp_path / "meter.py"
    plugin.write_text('from ssltoolkit.tasks import Metric\n\nERROR = Metric("a", "a", "positiv")\n')
    with pytest.raises(UserError) as caught:
        load_config(tiny_yaml, [f"plugins=[{plugin}]"])
    assert f"failed to import at {plugin}:3: ParameterError: values must be one of share, positive" in str(caught.value)
