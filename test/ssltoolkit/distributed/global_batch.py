"""One step of many models on one global batch, run by one process or several, whose results must agree. Not a test."""

from __future__ import annotations

import sys

import torch

from ssltoolkit.config import resolve_config
from ssltoolkit.data.archive import WaveArchive
from ssltoolkit.data.dataset import SegmentDataset
from ssltoolkit.distributed.collectives import average_gradients, is_main, launched, process_group
from ssltoolkit.model import SSLModel

MIX, GAIN, NOISE = {"name": "mix"}, {"name": "gain"}, {"name": "white_noise"}
CLIP = {
    "name": "clip",
    "anchor": [MIX, GAIN, {"name": "filter"}],
    "positive": [NOISE, {"name": "mask"}, {"name": "resize_crop"}],
}
ALIGNED = {"name": "frame_aligned", "positive": [GAIN], "max_offset": 0.1, "gap_ms": 80}
NORMED = {"name": "cnn_small", "width": 4, "embed_dim": 16}
COSINE = {"name": "cosine"}


def strategy(sampler, loss, out_dim=8, **head):
    return {"sampler": sampler, "head": {"name": "projection", "out_dim": out_dim, **head}, "loss": loss}


def info_nce(**options):
    return {"name": "info_nce", "similarity": COSINE, **options}


#: name -> encoder, strategies, ``training.joint``
CASES = {
    "three strategies": (
        NORMED,
        {
            "clip": strategy(CLIP, {"name": "info_nce", "similarity": {"name": "bilinear"}}),
            "frame": strategy(ALIGNED, info_nce(symmetric=True), hidden=12),
            "pitch": strategy({"name": "pitch_shift"}, {"name": "difference_regression"}, 1),
        },
        "product",
    ),
    "negatives of other clips": (
        NORMED,
        {
            "frame": strategy({**ALIGNED, "negatives": "batch"}, info_nce()),
            "mixture": strategy({"name": "mixture", "clean": [GAIN]}, info_nce()),
            "contrast": strategy(
                {"name": "pitch_contrast", "positive": [MIX]}, {"name": "nt_xent", "similarity": COSINE}
            ),
            "drawn": strategy({"name": "frame_sampled", "same": 2, "other": 3}, {"name": "triplet"}),
        },
        "uncertainty",
    ),
    "statistics of the batch": (
        NORMED,
        {"barlow": strategy(CLIP, {"name": "barlow_twins"}, hidden=12), "vicreg": strategy(CLIP, {"name": "vicreg"})},
        "sum",
    ),
    "target network": (NORMED, {"byol": strategy(CLIP, {"name": "byol", "hidden_dim": 16})}, "sum"),
    "dropout": ({"name": "cnn14", "width": 2, "embed_dim": 16}, {"clip": strategy(CLIP, info_nce())}, "sum"),
    "stochastic depth": (
        {"name": "efficientnet_b0", "embed_dim": 16, "drop_path": 0.3},
        {"clip": strategy(CLIP, info_nce())},
        "sum",
    ),
    "linear dropout": (
        {"name": "audiontt", "embed_dim": 80, "channels": 4, "hidden_dim": 8},
        {"clip": strategy(CLIP, info_nce())},
        "sum",
    ),
    "order of two": (
        NORMED,
        {
            "lag": strategy({"name": "time_lag"}, {"name": "difference_sign"}, 1),
            "tempo": strategy({"name": "time_stretch"}, {"name": "difference_regression", "form": "mse"}, 1),
            "near": strategy({"name": "frame_near"}, info_nce()),
        },
        "sum",
    ),
}


#: cases with the small encoder that also need fp64: their data are close to a kink
AT_A_KINK = ("statistics of the batch", "target network")


def encode_in_double(model):
    """Run encoders in fp64, the rest in fp32.

    In fp32, rounding moves a value across a ReLU's kink or changes the maximum, and gradients jump. The test compares
    the functions that the processes compute.
    """
    for encoder in (model.encoder, model.target_encoder):
        if encoder is not None:
            encode = encoder.double().encode_outputs
            encoder.encode_outputs = lambda x, rows, encode=encode: encode(x.double(), rows)
    for part in model.strategies.values():
        for head in (part.head, part.target_head):
            if head is not None:
                head.register_forward_pre_hook(lambda module, inputs: (inputs[0].float(),))


# oneDNN sums the gradient of a convolution's weights in fp32 in an order that depends on the rows of the batch, which
# alone changes it by 1e-5 of its largest value (halves of a batch against the whole, first convolution, 64 segments).
@torch.backends.mkldnn.flags(enabled=False)
def step(name, data_dir, batch_size):
    """Return all values that must not differ, of two forward and backward passes as in training and of validation."""
    encoder, strategies, joint = CASES[name]
    training = {"batch_size": batch_size, "joint": joint, "device": "cpu"}
    frontend = {"name": "logmel", "n_mels": 16 if encoder is NORMED else 64}
    config = resolve_config(
        {
            "frontend": frontend,
            "encoder": encoder,
            "strategies": strategies,
            "optimizer": {"name": "adam"},
            "training": training,
        }
    )
    torch.manual_seed(1)
    model = SSLModel(config)
    if encoder is not NORMED or name in AT_A_KINK:
        encode_in_double(model)
    if launched():
        model.span_processes()
    data = SegmentDataset(WaveArchive(data_dir), model.cuts, batch_size, 15360, 16000, 0)
    found = {}
    model.train()
    for number in (0, 1):
        output = model(data.batch(number))
        output.loss.backward()
        found.update({f"{number} {key}": value for key, value in output.terms.items()})
        average_gradients(model.parameters(), False)
        for key, parameter in model.named_parameters():
            if parameter.grad is not None:
                found[f"{number} gradient {key}"] = parameter.grad.clone()
                parameter.grad = None
        model.after_step()
    found.update({f"buffer {key}": value.clone() for key, value in model.named_buffers()})
    found["draws left"] = torch.get_rng_state()
    model.eval()
    with torch.no_grad():
        found["valid"] = torch.stack([model(batch).loss for batch in data.validation()])
    return found


def main(data_dir, batch_size, output, *names):
    torch.set_num_threads(1)
    with process_group(torch.device("cpu")):
        found = {name: step(name, data_dir, int(batch_size)) for name in names}
        if is_main():
            torch.save(found, output)


if __name__ == "__main__":
    main(*sys.argv[1:])
