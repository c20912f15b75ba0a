"""Time of a training step of the default or another configuration, in total and by part.

Runs the toolkit's trainer on a wave archive in one thread. ``--other ROOT`` alternates with another checkout of the
toolkit, in separate processes, to measure a change. ``--cached N`` compares one step of N batches by gradient caching
with one batch of the same number of clips. Parts are timed around the trainer's calls; time between the calls is not in
their sum."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Dict, List, Optional

from common import ROOT, parse, parser, rate, write_row

#: parts of a step, as named in the row
PARTS = ("read", "render", "encoder", "heads", "losses", "backward", "optimiser")
STEPS = 4


def timed(times: Dict[str, float], part: str, owner: object, name: str) -> None:
    """Add the time of every call of ``owner.name`` to its part."""
    function = getattr(owner, name)

    def call(*args, **kwargs):
        started = time.perf_counter()
        try:
            return function(*args, **kwargs)
        finally:
            times[part] += time.perf_counter() - started

    if isinstance(owner, type):
        setattr(owner, name, lambda self, *args, **kwargs: _of(times, part, function, self, args, kwargs))
    else:
        object.__setattr__(owner, name, call)


def _of(times, part, function, owner, args, kwargs):
    started = time.perf_counter()
    try:
        return function(owner, *args, **kwargs)
    finally:
        times[part] += time.perf_counter() - started


def measure(corpus: Path, root: Path, name: str, batch: int, cached: int) -> Dict[str, float]:
    """Seconds of a step by part, for the imported checkout, and the process's peak memory, MB."""
    import resource

    import torch

    from ssltoolkit.config import load_config
    from ssltoolkit.data.archive import WaveArchive
    from ssltoolkit.data.dataset import Prefetcher, SegmentDataset
    from ssltoolkit.stages.pretrain import build_model
    from ssltoolkit.training.allocator import keep_memory
    from ssltoolkit.training.trainer import Trainer
    from ssltoolkit.transforms.render import Renderer

    keep_memory()
    torch.set_num_threads(1)
    caching = [f"training.accumulate={cached}", "training.cached_batch=true"] if cached else []
    path = root / "egs" / "TEMPLATE" / "ssl1" / "conf" / f"{name}.yaml"
    config = load_config(path, ["training.device=cpu", f"training.batch_size={batch}", *caching])
    model = build_model(config)
    samples = int(config["training"]["segment_seconds"] * model.frontend.sample_rate)
    data = SegmentDataset(WaveArchive(corpus), model.cuts, batch, samples, model.frontend.sample_rate, seed=0)
    times: Dict[str, float] = defaultdict(float)
    with tempfile.TemporaryDirectory() as folder:
        trainer, batches = Trainer(model, config, folder, data), Prefetcher(data, 0)
        timed(times, "read", batches, "next")
        timed(times, "render", Renderer, "__call__")
        timed(times, "encoder", model.encoder, "by_output" if hasattr(model.encoder, "by_output") else "forward")
        for strategy in model.strategies.values():
            timed(times, "heads", strategy.head, "forward")
            timed(times, "losses", strategy.loss, "forward")
        timed(times, "backward", torch.Tensor, "backward")
        timed(times, "optimiser", trainer, "_update")
        for _ in range(2):
            trainer._train_step(batches)
        times.clear()
        started = time.perf_counter()
        for _ in range(STEPS):
            trainer._train_step(batches)
        total = time.perf_counter() - started
        batches.close()
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"step": total / STEPS, "memory": memory, **{part: times[part] / STEPS for part in PARTS}}


def in_process(corpus: Path, root: Path, name: str, batch: int, cached: int = 0) -> Dict[str, float]:
    """Like :func:`measure`, in a separate process that imports the toolkit of ``root``."""
    environment = {**os.environ, "PYTHONPATH": f"{root}{os.pathsep}{Path(__file__).parent}", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, __file__, "--measure", str(corpus), "--root", str(root), "--config", name]
    command += ["--batch", str(batch), *(["--cached", str(cached)] if cached else [])]
    return json.loads(
        subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout.splitlines()[-1]
    )


def main() -> None:
    """Write one row; with ``--other`` compared with that checkout."""
    options = parser(__doc__, batch=(128, 16), clips=(512, 64), seconds=(5, 2))
    options.add_argument("--other", type=Path, help="another checkout of the toolkit to compare with")
    options.add_argument("--config", default="default", help="configuration of egs/TEMPLATE (default: default)")
    options.add_argument("--cached", type=int, default=0, help="one step of this many batches by gradient caching")
    options.add_argument("--measure", type=Path, help="(internal) print the seconds on this archive")
    options.add_argument("--root", type=Path, default=ROOT, help="(internal) whose configuration")
    args = parse(options)
    if args.measure:
        print(json.dumps(measure(args.measure, args.root, args.config, args.batch, args.cached)))
        return
    from material import write_archive

    found: List[Dict[str, float]] = []
    others: List[Dict[str, float]] = []
    with tempfile.TemporaryDirectory() as temporary:
        corpus = write_archive(Path(temporary) / "corpus", args.clips, args.seconds)
        for _ in range(args.repeats):
            found.append(in_process(corpus, ROOT, args.config, args.batch, args.cached))
            if args.cached:
                others.append(in_process(corpus, ROOT, args.config, args.batch * args.cached))
            elif args.other:
                others.append(in_process(corpus, args.other.resolve(), args.config, args.batch))
    times: Dict[str, Optional[list]] = {"ours": [one["step"] for one in found]}
    if others:
        times["reference"] = [one["step"] for one in others]
    shares = ", ".join(f"{part} {1000 * statistics.median(one[part] for one in found):.0f}" for part in PARTS)
    batch, clips = f"batch {args.batch}", args.batch * max(1, args.cached)
    against = "; reference: the checkout given with --other" if others else ""
    if args.cached:
        batch = f"one loss over {args.cached} x {args.batch} clips by gradient caching"
        against = f"; reference: one batch of {clips}"
        peaks = [max(one["memory"] for one in part) for part in (found, others)]
        shares += f"; memory {peaks[0]:.0f} MB, reference {peaks[1]:.0f} MB"
    what = f"training step of the configuration {args.config}, {batch}, one thread, precision auto{against}"
    write_row(args, what, times, f"{rate(clips, times, 'clips/s')}; ms: {shares}")


if __name__ == "__main__":
    main()
