"""training/acceleration.py: options for a GPU, without effect on a CPU; if compilation fails, the run continues."""

import pytest
import torch

from ssltoolkit.stages.pretrain import build_model, pretrain
from ssltoolkit.training.acceleration import accelerate, compile_encoder

OPTIONS = ["training.channels_last=true", "training.cudnn_benchmark=true", "training.compile=true"]
SETTINGS = {"channels_last": True, "cudnn_benchmark": True, "compile": True}


def test_on_a_cpu_they_do_nothing(format_data, make_waves, tiny_config, tmp_path):
    data, states = format_data("train", make_waves(12)), []
    for name, options in (("without", []), ("with", OPTIONS)):
        (tmp_path / name).mkdir()
        pretrain(tiny_config("training.max_steps=2", *options), tmp_path / name, data)
        states.append(torch.load(tmp_path / name / "last.pt", weights_only=True)["model"])
    assert all(states[0][key].equal(states[1][key]) for key in states[0])
    # A run may resume with other options: they change a checkpoint only by rounding.
    pretrain(tiny_config("training.max_steps=3", *OPTIONS), tmp_path / "without", data)


def test_what_a_gpu_is_given(tiny_config, monkeypatch):
    model, was = (
        build_model(tiny_config("encoder={name: efficientnet_b0, embed_dim: 8}")),
        torch.backends.cudnn.benchmark,
    )
    monkeypatch.setattr(torch, "compile", lambda function: lambda *arguments: {"compiled": arguments})
    try:
        accelerate(model, {**SETTINGS, "channels_last": False, "compile": False}, torch.device("cuda"), pytest.fail)
        assert torch.backends.cudnn.benchmark and "encode_outputs" not in vars(model.encoder)
        weight = model.encoder.stem[0].weight
        accelerate(model, {**SETTINGS, "cudnn_benchmark": False}, torch.device("cuda"), pytest.fail)
        assert not torch.backends.cudnn.benchmark and weight.is_contiguous(memory_format=torch.channels_last)
        assert "compiled" in model.encoder.encode_outputs(torch.zeros(1))
    finally:
        torch.backends.cudnn.benchmark = was


def test_an_encoder_that_cannot_be_compiled_stays_as_it_is(tiny_config, monkeypatch):
    model, x, said, tries = build_model(tiny_config()), torch.randn(2, 96, 64), [], []

    def failing(function):
        def call(*arguments):
            tries.append(1)
            raise RuntimeError("no compiler here\nand more")

        return call

    monkeypatch.setattr(torch, "compile", failing)
    wanted = model.encoder.eval()(x)
    compile_encoder(model.encoder, said.append)
    for _ in range(2):
        parts = list(model.encoder.by_output(x).values())
        assert torch.cat(parts, dim=-1).equal(wanted)
    assert (
        said == ["training.compile: the encoder is not compiled (RuntimeError: no compiler here)"] and len(tries) == 1
    )
    assert not any("encode_outputs" in key for key in model.state_dict())
