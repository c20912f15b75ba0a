"""Speed of frozen embeddings of several models in times real time, measured alternately on one core.

Measures CPU time, which other programs affect little.
"""

from __future__ import annotations

import os
import time

os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np  # noqa: E402
from common import one_core, parse, parser, rate, write_row  # noqa: E402

from ssltoolkit.embedding import load_frozen  # noqa: E402
from ssltoolkit.stages.embed import as_arrays  # noqa: E402

MODELS = [
    "shipped",
    "baseline:logmel",
    "peer:pesto",
    "peer:swift-f0",
    "peer:crepe-tiny",
    "peer:basic-pitch",
    "peer:speech-embedding",
]


def main() -> None:
    """Write one row per model."""
    options = parser(__doc__, clips=(6, 3), seconds=(5, 2))
    options.add_argument("--models", nargs="+", default=MODELS, help="model names as in ssltoolkit embed")
    args = parse(options)
    one_core()
    rng = np.random.default_rng(0)
    waves = [0.1 * rng.standard_normal((1, 16000 * args.seconds)).astype(np.float32) for _ in range(args.clips)]
    models = {name: as_arrays(load_frozen(name)) for name in args.models}
    times = {name: [] for name in models}
    for number in range(args.repeats + 1):  # the first round is a warm-up
        for name, model in models.items():
            started = time.process_time()
            for wave in waves:
                model.scenes(wave)
            if number:
                times[name].append(time.process_time() - started)
    length = args.clips * args.seconds
    for name, values in times.items():
        row = {"ours": values}
        write_row(args, f"scenes of {length} s, {name}", row, rate(length, row, "x real time in processor time"))


if __name__ == "__main__":
    main()
