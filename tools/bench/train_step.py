"""The paper's training step with all three strategies: ours against a plain implementation, in clips per second.

Ours is the toolkit's trainer: clips read ahead from a wave archive, views rendered in batch, one channels-last encoder
pass, in bfloat16 if that is faster. The plain implementation loops over items (vocoder, log-mel), runs the encoder
three times in NCHW float32, and computes the losses from the equations. ``--curve N`` trains N steps from the same
weights on the same batches, with the same mathematics in the plain implementation, and compares the final loss: float32
should agree within 1 %, bfloat16 within 3 %."""

from __future__ import annotations

import copy
import statistics
import tempfile
from pathlib import Path
from typing import List

from common import ROOT, alternate, parse, parser, rate, write_row
from material import write_archive
from reference import VOCODER, PlainTraining

from ssltoolkit.config import load_config
from ssltoolkit.data.archive import WaveArchive
from ssltoolkit.data.dataset import Prefetcher, SegmentDataset
from ssltoolkit.precision import gains_by_bfloat16, has_bfloat16
from ssltoolkit.stages.pretrain import build_model
from ssltoolkit.training.allocator import keep_memory
from ssltoolkit.training.trainer import Trainer

PAPER = ROOT / "egs" / "TEMPLATE" / "ssl1" / "conf" / "paper.yaml"
#: number of last steps whose mean loss is compared
LAST = 10


def configured(batch: int, precision: str, steps: int = 1_000_000) -> dict:
    """The paper's configuration with a smaller batch size; its two batches of 512 per step need a GPU."""
    training = (
        f"training.batch_size={batch}",
        "training.accumulate=1",
        f"training.precision={precision}",
        "training.device=cpu",
    )
    return load_config(PAPER, [*training, f"training.max_steps={steps}"])


def dataset_of(model, folder: Path, config: dict) -> SegmentDataset:
    """The trainer's dataset of random segments of the archive."""
    samples = int(config["training"]["segment_seconds"] * model.frontend.sample_rate)
    return SegmentDataset(
        WaveArchive(folder), model.cuts, config["training"]["batch_size"], samples, model.frontend.sample_rate, seed=0
    )


def measure(args, corpus: Path, folder: Path) -> None:
    """Measure one step of each alternately."""
    precision = "bf16" if gains_by_bfloat16("cpu") else "fp32"
    config = configured(args.batch, precision)
    model = build_model(config)
    training = config["training"]
    plain = PlainTraining(
        copy.deepcopy(model).train(), config["optimizer"]["lr"], training["grad_clip"], published=True
    )
    data = dataset_of(model, corpus, config)
    trainer = Trainer(model, config, folder, data)
    batches, numbers = Prefetcher(data, 0), iter(range(1_000_000))
    times = alternate(lambda: trainer._train_step(batches), lambda: plain.step(data.batch(next(numbers))), args.repeats)
    batches.close()
    what = f"training step of the paper's three strategies, efficientnet_b0, batch {args.batch}, {precision}; reference: {VOCODER} an item, NCHW fp32"
    write_row(args, what, times, f"{rate(args.batch, times, 'clips/s')}, {rate(3 * args.batch, times, 'segments/s')}")


def plain_curve(args, corpus: Path) -> List[float]:
    """Losses of the plain implementation."""
    config = configured(args.batch, "fp32")
    model = build_model(config).train()
    plain = PlainTraining(model, config["optimizer"]["lr"], config["training"]["grad_clip"], published=False)
    data = dataset_of(model, corpus, config)
    return [plain.step(data.batch(number)) for number in range(args.curve)]


def our_curve(args, corpus: Path, folder: Path, precision: str) -> List[float]:
    """Losses of the trainer."""
    config = configured(args.batch, precision)
    model = build_model(config)
    data = dataset_of(model, corpus, config)
    trainer, batches = Trainer(model, config, folder, data), Prefetcher(data, 0)
    losses = [float(trainer._train_step(batches).terms["loss"]) for _ in range(args.curve)]
    batches.close()
    return losses


def compare_curves(args, corpus: Path, folder: Path) -> None:
    """Write one row per precision: the mean loss of the last steps."""
    last = max(1, min(LAST, args.curve // 2))
    plain = plain_curve(args, corpus)[-last:]
    for precision, allowed in (("fp32", 0.01), ("bf16", 0.03))[: 2 if has_bfloat16("cpu") else 1]:
        ours = our_curve(args, corpus, folder, precision)[-last:]
        difference = statistics.mean(ours) / statistics.mean(plain) - 1.0
        verdict = "within" if abs(difference) <= allowed else "BEYOND"
        figure = f"loss after {args.curve} steps of batch {args.batch}, {precision} against the plain form (last {last} steps)"
        write_row(
            args,
            figure,
            {"ours": ours, "reference": plain},
            f"means differ by {difference:+.3%}, {verdict} {allowed:.0%}",
            unit="",
        )


def main() -> None:
    """Measure the step, or compare the curves."""
    options = parser(__doc__, batch=(64, 16), clips=(512, 64), seconds=(5, 2))
    options.add_argument(
        "--curve", type=int, default=0, help="compare losses over this many steps instead of measuring time"
    )
    args = parse(options)
    keep_memory()  # as in ssltoolkit pretrain
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        corpus = write_archive(folder / "corpus", args.clips, args.seconds)
        if args.curve:
            compare_curves(args, corpus, folder)
        else:
            measure(args, corpus, folder)


if __name__ == "__main__":
    main()
