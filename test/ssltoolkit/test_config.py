"""config.py: reading, including, overriding, checking and saving."""

import pytest
import yaml

from ssltoolkit.config import (
    apply_overrides,
    dump_config,
    load_config,
    merge,
    parse_yaml,
    read_config,
    resolve_config,
    save_config,
)
from ssltoolkit.errors import ConfigError
from ssltoolkit.stages.pretrain import build_model


def error_of(call, *arguments):
    with pytest.raises(ConfigError) as caught:
        call(*arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    "text, value",
    [("1e-4", 1e-4), ("1E3", 1e3), ("+2e2", 200.0), ("-1.5e-3", -1.5e-3), ("3.", 3.0), (".5", 0.5), ("4", 4)],
)
def test_numbers(text, value):
    parsed = parse_yaml(f"x: {text}", "here")["x"]
    assert parsed == value and type(parsed) is type(value)


@pytest.mark.parametrize("text", ["1e", "e4", "1-e4", "v1.0", "'1e-4'"])
def test_words_stay_words(text):
    assert isinstance(parse_yaml(f"x: {text}", "here")["x"], str)


@pytest.mark.parametrize(
    "text, parts",
    [
        ("a: 1\nb: 2\na: 3\n", ["here:3", "'a' is given twice"]),
        ("a: {b: 1, b: 2}\n", ["here:1", "'b' is given twice"]),
        ("a: [1\nb: 2\n", ["here:2", "not valid YAML"]),
        ("1: x\n", ["here:1", "key 1 is not text"]),
        ("a: !!python/object/apply:os.system [true]\n", ["here:1", "not valid YAML"]),
        ("a: \x00", ["here", "not valid YAML"]),
    ],
)
def test_invalid_yaml_names_file_and_line(text, parts):
    message = error_of(parse_yaml, text, "here")
    assert all(part in message for part in parts), message


def test_merge_rules():
    base = {"a": {"x": 1, "y": 2}, "c": {"name": "one", "k": 1}, "l": [1, 2], "gone": 1}
    changes = {"a": {"y": 3}, "l": [5], "gone": None}
    assert merge(base, changes) == {"a": {"x": 1, "y": 3}, "c": {"name": "one", "k": 1}, "l": [5]}
    assert merge(base, {"c": {"name": "two", "z": 1}})["c"] == {"name": "two", "z": 1}
    assert merge(base, {"c": {"name": "one", "z": 1}})["c"] == {"name": "one", "k": 1, "z": 1}
    assert merge(base, {"c": {"z": 1}})["c"] == {"name": "one", "k": 1, "z": 1}
    merged = merge(base, {"new": {"l": [1]}})
    merged["l"].append(9)
    assert base["l"] == [1, 2]


def write(folder, **files):
    for name, text in files.items():
        (folder / f"{name}.yaml").write_text(text)
    return folder


def test_includes_nest_and_later_ones_win(tmp_path):
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep/base.yaml").write_text("a: {x: 1, y: 1}\nb: 1\nplugins: [p.py]\n")
    (tmp_path / "deep/p.py").write_text("")
    write(
        tmp_path,
        mid="include: deep/base.yaml\na: {y: 2}\n",
        other="b: 7\n",
        top="include: [mid.yaml, other.yaml]\na: {z: 3}\nplugins: [os]\n",
    )
    assert read_config(tmp_path / "top.yaml") == {
        "a": {"x": 1, "y": 2, "z": 3},
        "b": 7,
        "plugins": [str(tmp_path / "deep/p.py"), "os"],
    }


def test_include_errors(tmp_path):
    write(tmp_path, a="include: b.yaml\n", b="include: a.yaml\n", c="include: none.yaml\n", d="- 1\n", e="")
    assert "a.yaml -> b.yaml -> a.yaml" in error_of(read_config, tmp_path / "a.yaml")
    message = error_of(read_config, tmp_path / "c.yaml")
    assert "none.yaml" in message and "included by" in message and "c.yaml" in message
    assert "d.yaml: expected a mapping" in error_of(read_config, tmp_path / "d.yaml")
    assert "e.yaml: expected a mapping" in error_of(read_config, tmp_path / "e.yaml")
    assert "nowhere.yaml: cannot read" in error_of(read_config, tmp_path / "nowhere.yaml")
    assert "cannot read" in error_of(read_config, tmp_path)
    write(tmp_path, f="include: 3\n", g="plugins: x.py\n")
    assert "f.yaml: include" in error_of(read_config, tmp_path / "f.yaml")
    assert "plugins: expected a list" in error_of(read_config, tmp_path / "g.yaml")


def test_overrides():
    config = {"optimizer": {"name": "adamw", "lr": 1.0}, "s": {"a": {"w": 1}, "b": {"w": 2}}}
    changed = apply_overrides(config, ["optimizer.lr=1e-3", "s.a=null", "new.deep.key=[1, two]", "text=a=b"])
    assert changed == {
        "optimizer": {"name": "adamw", "lr": 1e-3},
        "s": {"b": {"w": 2}},
        "new": {"deep": {"key": [1, "two"]}},
        "text": "a=b",
    }
    assert config["optimizer"]["lr"] == 1.0
    assert apply_overrides(config, ["optimizer={name: adam, lr: 2}"])["optimizer"] == {"name": "adam", "lr": 2}
    assert apply_overrides(config, ["s.a.w=1", "s.a.w=5"])["s"]["a"]["w"] == 5


@pytest.mark.parametrize(
    "override, part",
    [
        ("optimizer.lr", "expected key.path=value"),
        ("=3", "expected key.path=value"),
        ("a..b=3", "expected key.path=value"),
        ("optimizer.lr.x=3", "optimizer.lr is not a mapping"),
        ("optimizer.lr=[1", "--set optimizer.lr:1: not valid YAML"),
    ],
)
def test_override_errors(override, part):
    assert part in error_of(apply_overrides, {"optimizer": {"lr": 1.0}}, [override])


@pytest.mark.parametrize(
    "override, parts",
    [
        ("encoder.name=cnn_smal", ["encoder.name: ", "did you mean 'cnn_small'?"]),
        ("encoder.width=wide", ["encoder.width: expected int, got 'wide'"]),
        ("encoder.time_stride=5", ["encoder.time_stride: expected 4 | 8, got 5"]),
        ("encoder.embed_dims=5", ["encoder.embed_dims: ", "did you mean 'embed_dim'?"]),
        ("encoder.n_mels=16", ["encoder.n_mels: ", "no parameter 'n_mels'"]),
        ("encoder=null", ["encoder: missing"]),
        ("encoders.name=x", ["encoders: nothing reads this key", "did you mean 'encoder'?"]),
        ("frontend.hop_length=500", ["frontend.hop_length: must lie in [1, 400], got 500"]),
        ("frontend.f_max=9000", ["frontend.f_max: ", "8000 Hz, got 9000"]),
        ("frontend.normalize=bands", ["frontend.normalize: expected 'global' | 'band' | 'none', got 'bands'"]),
        ("strategies=null", ["strategies: missing"]),
        ("strategies=[1]", ["strategies: expected at least one"]),
        ("strategies.pitch=7", ["strategies.pitch: expected {weight, sampler, head, loss}, got 7"]),
        ("strategies.pitch.head=null", ["strategies.pitch.head: missing"]),
        ("strategies.pitch.wieght=1", ["strategies.pitch.wieght: ", "did you mean 'weight'?"]),
        ("strategies.pitch.weight=-1", ["strategies.pitch.weight: expected a number of at least 0, got -1"]),
        ("strategies.pitch.weight=true", ["strategies.pitch.weight: expected a number of at least 0, got True"]),
        ("strategies.pitch.weight=.nan", ["strategies.pitch.weight: expected a number of at least 0"]),
        ("strategies.pitch.sampler.max_shift=30", ["strategies.pitch.sampler.max_shift: must lie in (0, 24], got 30"]),
        ("strategies.pitch.sampler.max_shift=big", ["strategies.pitch.sampler.max_shift: expected float, got 'big'"]),
        ("strategies.pitch.sampler.name=pitchshift", ["strategies.pitch.sampler.name: ", "did you mean 'pitch_shift'?"]),
        ("strategies.pitch.head.out_dim=4", ["strategies.pitch.head.out_dim: ", "needs a head with out_dim 1, got 4; "
                                                                                "it must go with strategies.pitch.loss"]),
        ("strategies.pitch.loss={name: info_nce, similarity: cosine}", ["strategies.pitch.loss.name: ", "'info_nce' cannot use", "difference_regression"]),
        ("strategies.clip.sampler.anchor=[{name: gian}]", ["strategies.clip.sampler.anchor[0].name: ", "did you mean 'gain'?"]),
        ("strategies.clip.sampler.anchor=[gain, {name: mask, max_time: 2.0}]", ["strategies.clip.sampler.anchor[1].max_time: must lie in [0, 1]"]),
        ("strategies.clip.sampler.anchor=[gain, {name: gain}]", ["strategies.clip.sampler", "'gain'", "twice"]),
        ("strategies.clip.loss=info_nce", ["strategies.clip.loss.similarity: missing"]),
        ("strategies.clip.loss.similarity={name: cosin}", ["strategies.clip.loss.similarity.name: ", "did you mean 'cosine'?"]),
        ("strategies.clip.loss.similarity={name: cosine, temperature: 0}", ["strategies.clip.loss.similarity.temperature: must lie in (0, inf)"]),
        ("optimizer.lr=fast", ["optimizer.lr: expected float, got 'fast'"]),
        ("scheduler.warmup=3", ["scheduler.warmup: ", "did you mean 'warmup_steps'?"]),
        ("embedding.scene=median", ["embedding.scene: must be one of max, mean, std, got 'median'"]),
        ("embedding.scene={linear: median}", ["embedding.scene.linear: must be one of max, mean, std, got 'median'"]),
        ("embedding.scene={linear: max+max}", ["embedding.scene.linear: names a pooling twice: 'max+max'"]),
        ("embedding.scene={linear: 3}", ["embedding.scene: expected", "got {'linear': 3}"]),
        ("embedding.scene={}", ["embedding.scene: names no pooling"]),
        ("embedding.scene={linaer: max}", ["embedding.scene.linaer: the encoder has no output of this name; did you "
                                           "mean 'linear'? (it has: "]),
        ("embedding.scene={linaer: max, others: std}", ["embedding.scene.linaer: the encoder has no output of this "
                                                        "name; did you mean 'linear'?"]),
        ("embedding.scene={pitch_axis: max}", ["embedding.scene.pitch_axis: the encoder has no output of this name "
                                               "(it has: ", "with a pooling for others"]),
        ("training.max_step=3", ["training.max_step: ", "did you mean 'max_steps'?"]),
        ("training.batch_size=0", ["training.batch_size: must lie in [2, inf), got 0"]),
        ("training.precision=fp16", ["training.precision: must be one of auto, fp32, bf16, got 'fp16'"]),
        ("training.joint=mean", ["training.joint: must be one of sum, product, uncertainty, got 'mean'"]),
        ("training.seed=1.5", ["training.seed: expected int, got 1.5"]),
        ("training=quick", ["training: expected a mapping, got 'quick'"]),
        ("embedding=[max]", ["embedding: expected a mapping"]),
    ],
)  # fmt: skip
def test_every_mistake_is_named_by_its_key_path(tiny_config, override, parts):
    message = error_of(lambda: build_model(tiny_config(override)))
    assert all(part in message for part in parts), message


def test_resolving_is_idempotent_and_survives_a_file(tiny_config, tmp_path):
    config = tiny_config("strategies.frame.sampler.anchor=[mask, pitch_shift]")
    assert config["optimizer"] == {"name": "adamw", "lr": 3e-3, "betas": [0.9, 0.99], "weight_decay": 0.01}
    assert config["strategies"]["clip"]["weight"] == 1.0 and config["embedding"]["scene"] == "max+mean"
    assert resolve_config(config) == config
    save_config(config, tmp_path / "saved.yaml")
    assert load_config(tmp_path / "saved.yaml") == config
    assert yaml.safe_load(dump_config(config)) == config
    assert not list(tmp_path.glob("*.tmp"))


def test_a_resolved_config_gives_the_same_weights(tiny_config, tmp_path):
    config = tiny_config()
    save_config(config, tmp_path / "saved.yaml")
    first, second = (build_model(c).state_dict() for c in (config, load_config(tmp_path / "saved.yaml")))
    assert all(first[key].equal(second[key]) for key in first)


def test_a_merge_key_is_called_by_its_name(tmp_path):
    (tmp_path / "a.yaml").write_text("base: &b {lr: 1}\noptimizer:\n  <<: *b\n  name: adam\n")
    with pytest.raises(ConfigError, match=r"a.yaml:3: not valid YAML: YAML merge keys .* include:"):
        read_config(tmp_path / "a.yaml")


def test_encodings_of_a_configuration(tmp_path):
    """A byte order mark is accepted; errors for other encodings give the command that converts them."""
    (tmp_path / "a.yaml").write_bytes("optimizer: {name: adam}  # é\n".encode("utf-8-sig"))
    assert read_config(tmp_path / "a.yaml")["optimizer"] == {"name": "adam"}
    (tmp_path / "a.yaml").write_bytes("optimizer: {name: adam}  # é\n".encode("latin-1"))
    with pytest.raises(
        ConfigError, match="a.yaml:1: not UTF-8 text, it looks like ISO-8859-1; convert it with: iconv -f ISO-8859-1"
    ):
        read_config(tmp_path / "a.yaml")


def test_a_link_includes_what_lies_beside_the_link(tmp_path):
    for folder, steps in (("shared", 1), ("recipe", 7)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "base.yaml").write_text(f"training: {{max_steps: {steps}}}\n", encoding="utf-8")
    (tmp_path / "shared" / "own.yaml").write_text("include: base.yaml\nseed: 3\n", encoding="utf-8")
    (tmp_path / "recipe" / "own.yaml").symlink_to(tmp_path / "shared" / "own.yaml")
    assert read_config(tmp_path / "recipe" / "own.yaml")["training"] == {"max_steps": 7}
    assert read_config(tmp_path / "shared" / "own.yaml")["training"] == {"max_steps": 1}
