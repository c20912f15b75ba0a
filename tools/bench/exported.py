"""Speed of frozen embeddings in torch and onnxruntime, in times real time, measured alternately on one core.

Measures CPU time, which other programs affect little; on one thread of an idle machine it equals wall-clock time.
"""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np  # noqa: E402
import torch  # noqa: E402
from common import alternate_values, one_core, parse, parser, rate, write_row  # noqa: E402

from ssltoolkit.embedding import load_frozen  # noqa: E402
from ssltoolkit.export.onnx_graph import write_onnx  # noqa: E402
from ssltoolkit.hub.onnx_model import OnnxModel  # noqa: E402
from ssltoolkit.stages.embed import as_arrays  # noqa: E402


def embedding_time(model: Any, waves: list) -> float:
    """CPU time (s) of the scenes and frames of all waves."""
    started = time.process_time()
    for wave in waves:
        model.both(wave)
    return time.process_time() - started


def main() -> None:
    """Write one row per model; ours is torch, the reference onnxruntime."""
    options = parser(__doc__, clips=(12, 3), seconds=(10, 5))
    options.add_argument(
        "--models",
        nargs="+",
        default=["shipped", "random:audiontt", "random:cnn14"],
        help="model names as in ssltoolkit embed",
    )
    args = parse(options)
    one_core()
    rng = np.random.default_rng(0)
    waves = [0.1 * rng.standard_normal((1, 16000 * args.seconds)).astype(np.float32) for _ in range(args.clips)]
    length = args.clips * args.seconds
    for name in args.models:
        model = load_frozen(name)
        with tempfile.TemporaryDirectory() as folder:
            write_onnx(model, Path(folder) / "model.onnx")
            loaded, ours = OnnxModel(Path(folder) / "model.onnx"), as_arrays(model)
            times = alternate_values(
                lambda model=ours: embedding_time(model, waves),
                lambda model=loaded: embedding_time(model, waves),
                args.repeats,
                warm_up=True,
            )
        comes_to = (
            f"torch {rate(length, times, 'x real time')}, onnxruntime "
            f"{rate(length, times, 'x real time in processor time', 'reference')}"
        )
        write_row(args, f"scenes and frames of {length} s, {name}, torch against onnxruntime", times, comes_to)


if __name__ == "__main__":
    torch.manual_seed(0)
    main()
