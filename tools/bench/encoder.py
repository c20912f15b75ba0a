"""Segments a second of an encoder, forward and backward: bf16 against fp32, both channels-last."""

from __future__ import annotations

import argparse
import statistics

import torch
from common import alternate, write_row

from ssltoolkit.registry import build


def main() -> None:
    """Measure one encoder on 0.96 s segments."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--encoder", default="cnn_small")
    options.add_argument("--segments", type=int, default=384)
    options.add_argument("--repeats", type=int, default=5)
    args = options.parse_args()
    encoder = build("encoder", args.encoder, n_mels=64)
    features = torch.randn(args.segments, 96, 64, generator=torch.Generator().manual_seed(0))

    def step(precision: bool) -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=precision):
            h = encoder(features)
        h.float().square().mean().backward()

    times = alternate(lambda: step(True), lambda: step(False), args.repeats)
    rate = args.segments / statistics.median(times["ours"])
    write_row(f"{args.encoder}, {args.segments} segments forward and backward, bf16 against fp32", times)
    print(f"{rate:.0f} segments/s in bf16")


if __name__ == "__main__":
    main()
