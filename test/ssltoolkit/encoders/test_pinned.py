"""Embeddings of a fixed input by fixed weights; a change of these numbers breaks existing checkpoints."""

import pytest
import torch

from ssltoolkit.frontends.logmel import LogMel
from ssltoolkit.frontends.logmel_dual import DualLogMel
from ssltoolkit.registry import build

TWO_RESOLUTIONS = "cnn_small with logmel_dual"
#: mean, standard deviation, first and last value, norm of the middle frame
PINNED = {
    "audiontt": [4.64754, 11.3652, 28.9856, 1.2382, 685.516],
    "cnn_small": [6.50746, 15.976, 25.0928, -8.30538, 544.339],
    TWO_RESOLUTIONS: [5.02699, 14.3135, 25.0928, 1.72319, 544.397],
    "conformer": [0.998012, 1.00788, 1.89926, -0.483016, 17.0189],
    "efficientnet_b0": [0.999913, 0.0812103, 0.902597, 0.91563, 22.6997],
    "vit": [0.998699, 1.0025, 0.906211, 0.877617, 19.5931],
}


def fixed_weights(encoder):
    """Set the weights by a formula, independent of any random generator."""
    with torch.no_grad():
        for index, parameter in enumerate(encoder.parameters()):
            wave = torch.cos(torch.arange(parameter.numel(), dtype=torch.float64) * 0.7 + index)
            fan = max(1, parameter[0].numel()) if parameter.dim() > 1 else 1
            scale = (2.0 / fan) ** 0.5 if parameter.dim() > 1 else 0.1
            parameter.copy_((wave * scale + (1.0 if parameter.dim() == 1 else 0.0)).view(parameter.shape).float())
    return encoder.eval()


def fixed_input(frontend):
    """Return the features of 0.96 s of audio: a gliding tone and a steady tone."""
    time = torch.arange(15360, dtype=torch.float64) / 16000
    wave = 0.3 * torch.sin(6.2831853 * (200 * time + 300 * time**2)) + 0.1 * torch.sin(6.2831853 * 1900 * time)
    return frontend(wave.float()[None])


def embedding(name):
    with torch.inference_mode():
        frontend = DualLogMel() if name == TWO_RESOLUTIONS else LogMel()
        encoder = build("encoder", name.split()[0], n_mels=frontend.n_mels, parts=frontend.parts)
        h = fixed_weights(encoder)(fixed_input(frontend))[0].double()
    return [h.mean().item(), h.std().item(), h[0, 0].item(), h[-1, -1].item(), h[h.shape[0] // 2].norm().item()]


@pytest.mark.parametrize("name", sorted(PINNED))
def test_embeddings_of_a_fixed_input_stay(name):
    assert embedding(name) == pytest.approx(PINNED[name], rel=1e-3, abs=1e-5)
