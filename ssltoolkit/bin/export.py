"""Export a frozen model: a small checkpoint, a folder with model.safetensors and a model card, or ONNX with the
frontend inside.
"""

from __future__ import annotations

import argparse
from typing import List, Optional

from ssltoolkit import command_line


def parser() -> argparse.ArgumentParser:
    """Options of this program."""
    options = command_line.Parser(prog="ssltoolkit export", description=__doc__)
    options.add_argument(
        "--model", required=True, help="checkpoint, model folder or name, as ssltoolkit embed takes it"
    )
    options.add_argument(
        "--output",
        required=True,
        help="NAME.pt, NAME.onnx, or a folder; ssltoolkit embed and ssltoolkit.hear read it as they read a checkpoint",
    )
    options.add_argument(
        "--format",
        choices=["pt", "safetensors", "onnx"],
        help="by default what the name of --output says: a folder is safetensors",
    )
    options.add_argument("--set", action="append", default=[], metavar="embedding.KEY=VALUE", dest="overrides",
                         help="change settings of the embedding, e.g. embedding.scene=max; repeatable")  # fmt: skip
    options.add_argument(
        "--config", default="", help="YAML with the plugins that the model's frontend or encoder comes from"
    )
    options.add_argument("--license", default="", help="of the weights, for the model card, e.g. Apache-2.0")
    options.add_argument("--data", default="", help="what the model was trained on, for the model card")
    options.add_argument(
        "--card", default="", help="a model card to put into the folder instead of the one that is made"
    )
    options.add_argument("--opset", type=int, default=20, help="of ONNX (default 20)")
    return options


def main(argv: Optional[List[str]] = None) -> int:
    """Write one model in one form."""
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
