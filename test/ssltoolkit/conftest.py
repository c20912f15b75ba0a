"""Run every test of the package in one thread, so that sums have a fixed order; write small checkpoints."""

import pytest
import torch


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)
    torch.manual_seed(0)


@pytest.fixture
def checkpoint(tiny_config, tmp_path):
    """checkpoint(name, 'a.b=c', ...): path of a new checkpoint, with weights and statistics as after training."""
    from ssltoolkit.stages.pretrain import build_model
    from ssltoolkit.training.checkpoint import save_checkpoint

    def make(name, *overrides):
        config = tiny_config(*overrides)
        model = build_model(config)
        model.frontend.set_statistics(
            torch.full((model.frontend.n_mels,), -5.0), torch.full((model.frontend.n_mels,), 2.5)
        )
        for module in model.modules():
            if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
                module.running_mean.normal_(0, 0.1)
                module.running_var.uniform_(0.5, 1.5)
        save_checkpoint(tmp_path / f"{name}.pt", {"config": config, "model": model.state_dict()})
        return str(tmp_path / f"{name}.pt")

    return make
