"""Export a frozen model as a small checkpoint, a folder with model.safetensors and card, or ONNX with frontend."""

from __future__ import annotations

import argparse
from typing import List, Optional

from ssltoolkit import command_line


def parser() -> argparse.ArgumentParser:
    """Options of this program."""
    options = command_line.Parser(prog="ssltoolkit export", description=__doc__)
    options.add_argument("--model", required=True, help="checkpoint, model folder or name, as in ssltoolkit embed")
    options.add_argument(
        "--output",
        required=True,
        help="NAME.pt, NAME.onnx, or a folder; ssltoolkit embed and ssltoolkit.hear can load it like a checkpoint",
    )
    options.add_argument(
        "--format",
        choices=["pt", "safetensors", "onnx"],
        help="default: from the name of --output; a folder means safetensors",
    )
    options.add_argument("--set", action="append", default=[], metavar="embedding.KEY=VALUE", dest="overrides",
                         help="change an embedding setting, e.g. embedding.scene=max; repeatable")  # fmt: skip
    options.add_argument(
        "--config", default="", help="YAML with the plugins that define the model's frontend or encoder"
    )
    options.add_argument("--license", default="", help="licence of the weights, for the model card, e.g. Apache-2.0")
    options.add_argument("--data", default="", help="training data, for the model card")
    options.add_argument("--card", default="", help="model card for the folder, instead of the generated one")
    options.add_argument("--opset", type=int, default=20, help="ONNX opset (default 20)")
    return options


def main(argv: Optional[List[str]] = None) -> int:
    """Export one model."""
    args = parser().parse_args(argv)
    from pathlib import Path

    from ssltoolkit.export import formats

    kind, output = formats.format_of(args.output, args.format or ""), Path(args.output)
    model = formats.model_to_export(args.model, args.overrides, args.config)
    if kind == "pt":
        formats.write_pt(model, output)
    elif kind == "safetensors":
        formats.write_folder(model, output, args.model, args.card, args.license, args.data)
    else:
        from ssltoolkit.export.onnx_graph import write_onnx

        write_onnx(model, output, args.opset)
    print(
        f"{args.output}: {formats.sizes(output)}, scene embedding {model.scene_dim}, frame embedding "
        f"{model.frame_dim}, hop {model.hop_ms:g} ms"
    )
    return command_line.EXIT_OK


if __name__ == "__main__":
    raise SystemExit(command_line.run(main))
