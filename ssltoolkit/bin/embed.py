"""Compute frozen scene and frame embeddings of data directories (stage 5) or of audio files."""

from __future__ import annotations

import argparse
from typing import List, Optional

from ssltoolkit import command_line


def parser() -> argparse.ArgumentParser:
    """Options of this program."""
    options = command_line.Parser(prog="ssltoolkit embed", description=__doc__)
    options.add_argument("audio", nargs="*", help="audio files; needs --output")
    options.add_argument(
        "--model",
        default="shipped",
        help="checkpoint, model folder, NAME.onnx, owner/name, baseline:logmel, random:<checkpoint, YAML or encoder>, "
        "released:<encoder>:<file> for published weights, peer:<name> (default: the model shipped with the package)",
    )
    options.add_argument(
        "-o",
        "--output",
        help=".npz for audio files: <name>.scene (D,), <name>.frames (T, D), <name>.times_ms (T,), and model",
    )
    options.add_argument("--data_dir", nargs="+", default=[], help="formatted directories (stage 2) instead of files")
    options.add_argument("--out_dir", nargs="+", default=[], help="embedding folders to write, one per --data_dir")
    options.add_argument(
        "--kind",
        nargs="+",
        default=["scene"],
        help="scene, frame, or task:NAME for the kind that a task needs; one for all or one per --data_dir "
        "(default scene)",
    )
    options.add_argument(
        "--config",
        help="YAML with the frontend of baseline:logmel, and with plugins to load: a checkpoint does not load the "
        "plugins it was trained with",
    )
    options.add_argument("--stats", help="global statistics (stage 3), for models without")
    options.add_argument(
        "--whiten_data",
        help="formatted directory of unlabelled audio to fit embedding.whiten to, for models without whitening "
        "(baseline: and random:)",
    )
    options.add_argument("--seed", type=int, default=0, help="seed of random: weights")
    options.add_argument(
        "--precision",
        choices=["fp32", "bf16"],
        default="fp32",
        help="bf16 runs the encoder in bfloat16, which is faster but less exact; embeddings of both never mix "
        "(default fp32)",
    )
    options.add_argument("--device", default="auto", help="auto, cpu or cuda")
    return options


def main(argv: Optional[List[str]] = None) -> int:
    """Embed data directories or audio files."""
    args = parser().parse_args(argv)
    from ssltoolkit.stages.embed import EmbedOptions, embed

    embed(EmbedOptions(**vars(args)))
    return command_line.EXIT_OK


if __name__ == "__main__":
    raise SystemExit(command_line.run(main))
