"""Frozen scene and frame embeddings of data directories (stage 5) or of audio files."""

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
        "released:<encoder>:<file> for weights that others have released, peer:<name> (default: the model that "
        "comes with the package)",
    )
    options.add_argument(
        "-o",
        "--output",
        help=".npz for audio files: <name>.scene (D,), <name>.frames (T, D), <name>.times_ms (T,), and model",
    )
    options.add_argument("--data_dir", nargs="+", default=[], help="formatted directories (stage 2) instead of files")
    options.add_argument("--out_dir", nargs="+", default=[], help="embedding folders to write, one for each --data_dir")
    options.add_argument(
        "--kind",
        nargs="+",
        default=["scene"],
        help="scene, frame, or task:NAME for what a task takes; one for all or one for each --data_dir (default scene)",
    )
    options.add_argument(
        "--config",
        help="YAML whose frontend baseline:logmel uses, and whose plugins are loaded: a checkpoint does not load "
        "those it was trained with",
    )
    options.add_argument("--stats", help="global statistics (stage 3) for models that carry none")
    options.add_argument(
        "--whiten_data",
        help="formatted directory of unlabelled audio that embedding.whiten is fitted to, for models that carry no "
        "whitening (baseline: and random:)",
    )
    options.add_argument("--seed", type=int, default=0, help="of random: weights")
    options.add_argument(
        "--precision",
        choices=["fp32", "bf16"],
        default="fp32",
        help="bf16: the encoder in bfloat16, faster, less exact; never mixed with fp32 (default fp32)",
    )
    options.add_argument("--device", default="auto", help="auto, cpu or cuda")
    return options


def main(argv: Optional[List[str]] = None) -> int:
    """Embed a data directory or the files given."""
    args = parser().parse_args(argv)
    from ssltoolkit.stages.embed import EmbedOptions, embed

    embed(EmbedOptions(**vars(args)))
    return command_line.EXIT_OK


if __name__ == "__main__":
    raise SystemExit(command_line.run(main))
