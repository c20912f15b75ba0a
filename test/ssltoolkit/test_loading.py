"""embedding/loading.py: frozen models by name, their hashes, and checkpoints that do not fit."""

import numpy as np
import pytest
import torch
from fixtures.sounds import noise

from ssltoolkit.data.statistics import Sums
from ssltoolkit.embedding import load_frozen
from ssltoolkit.errors import UserError
from ssltoolkit.training.checkpoint import load_checkpoint, save_checkpoint


def error_of(*arguments, **options):
    with pytest.raises(UserError) as caught:
        load_frozen(*arguments, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_the_former_name_of_the_baseline_is_read_with_one_warning(capsys):
    former, current = load_frozen("floor:logmel"), load_frozen("baseline:logmel")
    assert former.identity == current.identity and current.identity["model"] == "baseline:logmel"
    assert capsys.readouterr().err == "warning: floor:logmel is the former name of baseline:logmel; write that\n"


def test_baseline_takes_frontend_and_statistics(tiny_yaml, tmp_path):
    Sums(np.full(16, -40.0), np.full(16, 250.0), 10).save(tmp_path / "stats.npz")
    plain, scaled = (
        load_frozen("baseline:logmel", tiny_yaml),
        load_frozen("baseline:logmel", tiny_yaml, tmp_path / "stats.npz"),
    )
    assert plain.frame_dim == 32
    torch.testing.assert_close(
        scaled.frames(noise(1, 16000))[..., :16], (plain.frames(noise(1, 16000))[..., :16] + 4) / 3
    )
    assert plain.identity["model_hash"] != scaled.identity["model_hash"]


def test_random_is_the_same_network_untrained(checkpoint, tiny_yaml):
    path, wave = checkpoint("a"), noise(2, 16000)
    trained, untrained = load_frozen(path), load_frozen(f"random:{path}")
    assert untrained.frames(wave).shape == trained.frames(wave).shape
    assert not untrained.frames(wave).equal(trained.frames(wave))
    assert untrained.frontend.mean.equal(trained.frontend.mean)  # both have the statistics of the checkpoint
    torch.rand(3)
    again, other = load_frozen(f"random:{path}"), load_frozen(f"random:{path}", seed=1)
    assert again.frames(wave).equal(untrained.frames(wave)) and again.identity == untrained.identity
    assert not other.frames(wave).equal(untrained.frames(wave)) and other.identity != untrained.identity
    assert load_frozen(f"random:{tiny_yaml}").frames(wave).shape == trained.frames(wave).shape
    assert load_frozen("random:cnn_small").scenes(wave).shape == (2, 2 * 896)


def test_a_setting_that_changes_the_numbers_changes_the_hash(tiny_yaml, tmp_path):
    """Also without statistics: else embeddings of another frontend or window length would be reused."""

    def hash_of(model, *lines):
        (tmp_path / "changed.yaml").write_text("\n".join([f"include: {tiny_yaml}", *lines]))
        return load_frozen(model.replace("YAML", str(tmp_path / "changed.yaml")), tmp_path / "changed.yaml").identity[
            "model_hash"
        ]

    frontends = "frontend: {f_min: 200.0}", "frontend: {input_level: -20.0}", "embedding: {frame_context: 1.0}"
    for model, changes in (
        ("baseline:logmel", frontends),
        ("random:YAML", (*frontends, "training: {segment_seconds: 1.92}")),
    ):
        hashes = [hash_of(model), *(hash_of(model, change) for change in changes)]
        assert len(set(hashes)) == len(hashes) and hash_of(model) == hashes[0]
    assert hash_of("baseline:logmel", "embedding: {scene: std}", "training: {segment_seconds: 1.92}") == hash_of(
        "baseline:logmel"
    )
    (tmp_path / "plain.yaml").write_text(f"include: {tiny_yaml}\nfrontend: {{n_mels: 64}}\n")  # the default frontend
    assert load_frozen("baseline:logmel", tmp_path / "plain.yaml").identity == load_frozen("baseline:logmel").identity


def test_names_that_mean_nothing(checkpoint, tmp_path):
    assert "the only baseline is 'baseline:logmel'" in error_of("baseline:mfcc")
    assert "did you mean 'cnn_small'?" in error_of("random:cnn_smal")
    assert "no such checkpoint" in error_of(str(tmp_path / "none.pt"))
    assert "cannot read this configuration" in error_of(f"random:{tmp_path}/none.yaml")
    assert "not readable feature statistics" in error_of("baseline:logmel", stats=tmp_path / "none.npz")
    (tmp_path / "bad.pt").write_bytes(b"garbage")
    assert "not a readable checkpoint" in error_of(str(tmp_path / "bad.pt"))


@pytest.mark.parametrize(
    "change, part",
    [
        (lambda config, state: state.pop("encoder.skip.weight"), "missing encoder.skip.weight and 0 more"),
        (lambda config, state: state.update({"encoder.extra": torch.zeros(1)}), "unknown encoder.extra and 0 more"),
        (lambda config, state: config["encoder"].update(embed_dim=8), "other shape encoder."),
        (lambda config, state: config.update(encoder={"name": "efficientnet_b0"}), "missing encoder."),
        (lambda config, state: config["encoder"].update(name="cnn_smal"), "did you mean 'cnn_small'?"),
        (lambda config, state: state.clear(), "missing encoder."),
    ],
)
def test_a_checkpoint_of_another_architecture_is_refused(checkpoint, change, part):
    path = checkpoint("a")
    content = load_checkpoint(path)
    change(content["config"], content["model"])
    save_checkpoint(path, {key: content[key] for key in ("config", "model")})
    assert part in error_of(path)


def test_heads_are_left_behind(checkpoint):
    path = checkpoint("a")
    content = load_checkpoint(path)
    content["model"] = {key: value for key, value in content["model"].items() if not key.startswith("strategies.")}
    save_checkpoint(path, {key: content[key] for key in ("config", "model")})
    assert load_frozen(path).frames(noise(1, 1600)).shape == (1, 3, 16)
