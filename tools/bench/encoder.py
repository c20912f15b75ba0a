"""Segments per second of an encoder, forward and backward: bf16 against fp32, or only fp32 if the CPU has no bf16."""

from __future__ import annotations

import torch
from common import alternate, parse, parser, rate, seconds, write_row

from ssltoolkit.precision import has_bfloat16
from ssltoolkit.registry import build


def main() -> None:
    """Measure one encoder on 0.96 s segments."""
    options = parser(__doc__, segments=(384, 48))
    options.add_argument("--encoder", default="cnn_small")
    args = parse(options)
    encoder = build("encoder", args.encoder, n_mels=64)
    features = torch.randn(args.segments, 96, 64, generator=torch.Generator().manual_seed(0))

    def step(precision: bool) -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=precision):
            h = encoder(features)
        h.float().square().mean().backward()

    figure = f"{args.encoder}, {args.segments} segments forward and backward"
    if has_bfloat16("cpu"):
        times = alternate(lambda: step(True), lambda: step(False), args.repeats)
        write_row(args, f"{figure}, bf16 against fp32", times, rate(args.segments, times, "segments/s in bf16"))
    else:
        step(False)
        alone = {"ours": [seconds(lambda: step(False)) for _ in range(args.repeats)]}
        write_row(args, f"{figure}, fp32", alone, rate(args.segments, alone, "segments/s"))


if __name__ == "__main__":
    main()
