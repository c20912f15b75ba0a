"""Training throughput on a GPU: segments per second, utilisation, peak memory, time of the published schedule, and the
roofline.

    python3 tools/bench/gpu.py --batch 1024 --steps 50            # on a GPU
    python3 tools/bench/gpu.py --batch 8 --steps 2 --device cpu   # on a CPU, to test the program

Measures the toolkit's trainer with the user's ``training:`` options on wave archives of stage 2:
``--data_dir egs/mini/ssl1/dump/raw/pretrain`` uses those of a recipe; by default archives are generated. ``--compare``
also trains the first steps in float32 on the CPU, from the same weights on the same batches, and exits with status 1 if
the losses differ by more than 1e-3."""

from __future__ import annotations

import argparse
import contextlib
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Dict, Iterator, List, Tuple

import torch
from common import ROOT, Values, parse, parser, seconds, write_row
from material import write_archive
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode
from train_step import dataset_of

from ssltoolkit.config import load_config
from ssltoolkit.data.dataset import Prefetcher
from ssltoolkit.precision import has_bfloat16
from ssltoolkit.stages.pretrain import build_model
from ssltoolkit.training.trainer import Trainer

CONF = ROOT / "egs" / "TEMPLATE" / "ssl1" / "conf"
#: the published schedule on the balanced list
SCHEDULE_STEPS, SCHEDULE_CLIPS = 4000, 1024
#: number of steps whose losses are compared with the CPU's, and the tolerance
COMPARED, ALLOWED = 3, 1e-3
#: noise comes from the device's generator, which differs between devices
WITHOUT_NOISE = {"paper": ["strategies.clip.sampler.positive=[]"], "default": []}


class Training:
    """The trainer, built as in :func:`ssltoolkit.stages.pretrain.pretrain`, and its batches."""

    def __init__(self, args: argparse.Namespace, data: Path, folder: Path, device: str, overrides: List[str]) -> None:
        self.device = torch.device(device)
        settings = [f"training.{setting}" for setting in ("accumulate=1", "max_steps=1000000", f"device={device}")]
        config = load_config(CONF / f"{args.config}.yaml", [*settings, *overrides])
        self.model = build_model(config).to(self.device)
        self.views = len(self.model.views)
        self.trainer = Trainer(self.model, config, folder, dataset_of(self.model, data, config))
        self.batch = self.trainer.train_set.batch_size
        self.batches = Prefetcher(self.trainer.train_set, 0, device=self.device)

    def step(self) -> torch.Tensor:
        """Run one optimiser step including logging; returns its loss."""
        trainer = self.trainer
        done = trainer._train_step(self.batches)
        trainer.step += 1
        if trainer.step % trainer.settings["log_interval"] == 0:
            trainer._updates.settle()
        return done.terms["loss"]

    def loss(self) -> torch.Tensor:
        """Joint loss of the next batch."""
        return self.trainer._forward(self.batches.next()).loss

    def run(self, steps: int) -> float:
        """Seconds that this many steps take."""
        self.wait()
        started = time.perf_counter()
        for _ in range(steps):
            self.step()
        self.wait()
        return time.perf_counter() - started

    def wait(self) -> None:
        """Wait until the device has finished all work."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def busy(self, steps: int) -> str:
        """Share of the time in which a kernel is running, from a profile."""
        if self.device.type != "cuda":
            return "not a GPU"
        activities = [torch.profiler.ProfilerActivity.CUDA]
        with torch.profiler.profile(activities=activities) as profile:
            took = self.run(steps)
        kernels = sorted(
            (e.time_range.start, e.time_range.end)
            for e in profile.events()
            if e.device_type == torch.autograd.DeviceType.CUDA
        )
        return f"{_union(kernels) / 1e6 / took:.0%}"

    def peak(self) -> str:
        """Peak memory of the GPU so far."""
        return (
            "not a GPU"
            if self.device.type != "cuda"
            else f"{torch.cuda.max_memory_allocated(self.device) / 2**30:.1f} GiB"
        )

    @contextlib.contextmanager
    def eager(self) -> Iterator[None]:
        """Context with the uncompiled encoder."""
        compiled = self.model.encoder.__dict__.pop("encode_outputs", None)
        try:
            yield
        finally:
            if compiled is not None:
                self.model.encoder.encode_outputs = compiled


def _union(spans: List[Tuple[float, float]]) -> float:
    """Total length of the union of sorted spans."""
    covered, end = 0.0, float("-inf")
    for first, last in spans:
        covered += max(0.0, last - max(first, end))
        end = max(end, last)
    return covered


class Traffic(TorchDispatchMode):
    """Bytes read and written without fusion: inputs and outputs of every operation that is not a view."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if not func.is_view:
            tensors = [leaf for leaf in tree_leaves((args, kwargs, out)) if isinstance(leaf, torch.Tensor)]
            self.bytes += sum(tensor.numel() * tensor.element_size() for tensor in tensors)
        return out


def work(training: Training) -> Tuple[float, float]:
    """Floating-point operations of a step's matrix products and convolutions, and bytes moved without fusion."""
    with training.eager():
        with FlopCounterMode(display=False) as counter:
            training.loss()
        with Traffic() as traffic:
            training.loss().backward()
    # The backward pass has two products of the same size per forward product; torch's counter would count grouped
    # convolutions there as dense.
    return 3.0 * counter.get_total_flops(), float(traffic.bytes)


def ceilings(training: Training, size: int) -> Tuple[float, float]:
    """Measured throughput of bfloat16 matrix products, FLOP/s, and of copies, byte/s (read and written)."""
    a, b = (torch.randn(size, size, device=training.device, dtype=torch.bfloat16) for _ in range(2))
    source = torch.empty(size * size * 4, device=training.device, dtype=torch.bfloat16)
    target = torch.empty_like(source)

    def best(function) -> float:
        def timed() -> None:
            function()
            training.wait()

        timed()
        return min(seconds(timed) for _ in range(5))

    return 2.0 * size**3 / best(lambda: a @ b), 2.0 * source.numel() * 2 / best(lambda: target.copy_(source))


def measure(args: argparse.Namespace, data: Path, folder: Path) -> None:
    """Measure the throughput of the trainer, then the roofline."""
    precision = "bf16" if has_bfloat16(torch.device(args.device).type) else "fp32"
    options = {name: getattr(args, name) for name in ("channels_last", "cudnn_benchmark", "compile")}
    settings = [
        f"training.{name}={value}"
        for name, value in {**options, "precision": precision, "batch_size": args.batch}.items()
    ]
    training = Training(args, data, folder, args.device, settings)
    training.run(max(1, args.steps // 10))
    times: Values = {"ours": [training.run(args.steps) / args.steps for _ in range(args.repeats)]}
    median = sorted(times["ours"])[len(times["ours"]) // 2]
    segments = training.views * training.batch
    schedule = SCHEDULE_STEPS * SCHEDULE_CLIPS * training.views * median / segments / 60
    said = (
        f"{segments / median:,.0f} segments/s, device busy {training.busy(args.steps)}, peak memory {training.peak()}, "
        f"published schedule in {schedule:.1f} min"
    )
    # these options have no effect on a CPU
    used = [name for name, value in options.items() if value == "true" and training.device.type == "cuda"]
    named = ", ".join(used) or "no option"
    figure = f"trainer's step of batch {training.batch}, {args.config}.yaml, {precision}, {args.device}, {named}"
    write_row(args, figure, times, said)
    roofline(args, training, segments, median)
    training.batches.close()


def first_losses(args: argparse.Namespace, data: Path, folder: Path, device: str) -> List[float]:
    """Losses of the first steps, in float32."""
    settings = [f"training.batch_size={args.compared}", "training.precision=fp32", *WITHOUT_NOISE[args.config]]
    training = Training(args, data, folder, device, settings)
    losses = [training.step() for _ in range(COMPARED)]
    training.batches.close()
    return [float(loss) for loss in losses]


def compare(args: argparse.Namespace, data: Path, folder: Path) -> bool:
    """Whether the first losses equal the CPU's."""
    # TF32 products have only ten bits of mantissa
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    ours, cpu = (first_losses(args, data, folder, device) for device in (args.device, "cpu"))
    worst = max(abs(one / other - 1.0) for one, other in zip(ours, cpu))
    verdict = "within" if worst <= ALLOWED else "BEYOND"
    figure = (
        f"first {COMPARED} losses of batch {args.compared}, {args.config}.yaml, fp32, {args.device} against the CPU"
    )
    write_row(
        args, figure, {"ours": ours, "reference": cpu}, f"differ by at most {worst:.1e}, {verdict} {ALLOWED:g}", unit=""
    )
    return worst <= ALLOWED


def main() -> None:
    """Measure, and compare if requested."""
    options = parser(__doc__, batch=(1024, 8), steps=(50, 2), clips=(4096, 32), matrix=(8192, 512), compared=(128, 4))
    options.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options.add_argument(
        "--config",
        choices=list(WITHOUT_NOISE),
        default="paper",
        help="the paper's strategies on efficientnet_b0, or the default",
    )
    options.add_argument("--data_dir", type=Path, help="output directory of stage 2 (default: generate data)")
    options.add_argument("--compare", action="store_true", help="compare the first losses with the CPU's")
    for name, value in (("channels_last", "true"), ("cudnn_benchmark", "true"), ("compile", "false")):
        options.add_argument(
            f"--{name}", choices=["true", "false"], default=value, help=f"training.{name} (default {value})"
        )
    args = parse(options)
    if args.device == "cpu" and not args.quick and args.batch > 64:
        print("gpu: left out, no GPU here; --quick, or --batch 8 --steps 2 --device cpu, runs it on the CPU")
        return
    with tempfile.TemporaryDirectory() as folder:
        data = args.data_dir or write_archive(Path(folder) / "data", args.clips, 5.0)
        equal = not args.compare or compare(args, data, Path(folder))
        measure(args, data, Path(folder))
    if not equal:
        sys.exit(1)


def roofline(args: argparse.Namespace, training: Training, segments: int, step: float) -> None:
    """Upper bounds of the device's speed for the work of a step."""
    flops, moved = work(training)
    products, copies = ceilings(training, args.matrix)
    bounds: Dict[str, float] = {"matrix products": flops / products, "unfused memory traffic": moved / copies}
    said = (
        f"{flops / segments / 1e9:.2f} GFLOP and {moved / segments / 1e6:.1f} MB (unfused) a segment; ceilings "
        f"{products / 1e12:.2f} TFLOP/s, {copies / 1e9:.0f} GB/s; a step takes at least "
        + ", ".join(f"{1e3 * t:.1f} ms by {name}" for name, t in bounds.items())
    )
    figure = f"roofline of a step of batch {training.batch}, {args.config}.yaml, {args.device}: time against the larger bound"
    write_row(args, figure, {"ours": [step], "reference": [max(bounds.values())]}, said)


if __name__ == "__main__":
    main()
