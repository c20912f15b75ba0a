"""Write what is handed out frozen as a small file: frontend, encoder and their configuration, without heads and optimizer."""

from __future__ import annotations

import argparse
from typing import List, Optional

from ssltoolkit.bin import _cli

#: sections of the configuration that embedding needs
SECTIONS = ("frontend", "encoder", "embedding")


def parser() -> argparse.ArgumentParser:
    """Options of this program."""
    options = _cli.Parser(prog="ssltoolkit export", description=__doc__)
    options.add_argument("--model", required=True, help="checkpoint of a pre-training")
    options.add_argument("--output", required=True, help="file to write; ssltoolkit embed and ssltoolkit.hear read it as they read a checkpoint")
    options.add_argument("--set", action="append", default=[], metavar="embedding.KEY=VALUE", dest="overrides",
                         help="hand out the same weights otherwise, e.g. embedding.scene=max; repeatable")  # fmt: skip
    return options


def main(argv: Optional[List[str]] = None) -> int:
    """Cut a checkpoint down."""
    args = parser().parse_args(argv)
    from pathlib import Path

    from ssltoolkit.config import apply_overrides
    from ssltoolkit.embedding import from_checkpoint
    from ssltoolkit.errors import UserError
    from ssltoolkit.training.checkpoint import file_hash, load_checkpoint, save_checkpoint

    for override in args.overrides:
        if not override.startswith("embedding."):
            raise UserError(f"--set {override}: only keys of embedding can change without training, for example embedding.scene=max+mean")
    content = load_checkpoint(args.model)
    config = {name: content["config"][name] for name in SECTIONS if name in content["config"]}
    config = apply_overrides(config, args.overrides)
    config["training"] = {"segment_seconds": content["config"]["training"]["segment_seconds"]}
    weights = {key: value for key, value in content["model"].items() if key.startswith(("frontend.", "encoder."))}
    whitening = {"whitening": content["whitening"]} if content.get("whitening") else {}
    small = {**whitening, "config": config, "model": weights, "step": content.get("step", 0), "source": file_hash(args.model)}
    model = from_checkpoint(small, {"model": args.model})  # so that nothing is written that would not load
    Path(args.output).parent.mkdir(parents=True, exist_ok=True)
    save_checkpoint(args.output, small)
    size = Path(args.output).stat().st_size / 2**20
    print(f"{args.output}: {size:.2f} MB, scene embedding {model.scene_dim}, frame embedding {model.frame_dim}, hop {model.hop_ms:g} ms")
    return _cli.EXIT_OK


if __name__ == "__main__":
    raise SystemExit(_cli.run(main))
