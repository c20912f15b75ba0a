"""Training throughput on a GPU: segments a second, share of the time it is busy, the published schedule, and the roofline.

    python3 tools/bench/gpu.py --batch 1024 --steps 50            # on a GPU: what the target is stated for
    python3 tools/bench/gpu.py --batch 8 --steps 2 --device cpu   # the same program on a CPU, to see that it works

Three strategies of the paper in bfloat16 with efficientnet_b0. Clips come from a wave archive through a reading thread into
pinned memory, are copied while the step before is computed, and their views are rendered on the device. The encoder is
compiled where that works (``--compile false`` leaves it as it is).
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Dict, List, Tuple

import torch
from common import Values, parse, parser, seconds, write_row
from material import write_archive
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode
from train_step import configured, dataset_of

from ssltoolkit.data.dataset import Prefetcher
from ssltoolkit.data.segments import Batch
from ssltoolkit.precision import has_bfloat16
from ssltoolkit.registry import REGISTRY
from ssltoolkit.training.run import build_model

#: the published schedule on the balanced list
SCHEDULE_STEPS, SCHEDULE_CLIPS, VIEWS = 4000, 1024, 3


class Loader:
    """Batches on the device, copied one step ahead on a stream of its own."""

    def __init__(self, batches: Prefetcher, device: torch.device) -> None:
        self.batches, self.device = batches, device
        self.stream = torch.cuda.Stream(device) if device.type == "cuda" else None
        self.waiting = self._fetch()

    def _fetch(self) -> Batch:
        batch = self.batches.next()
        if self.stream is None:
            return batch
        with torch.cuda.stream(self.stream):
            batch.waves = {cut: wave.pin_memory().to(self.device, non_blocking=True) for cut, wave in batch.waves.items()}
        return batch

    def next(self) -> Batch:
        """The next batch; the one after it is under way."""
        if self.stream is not None:
            current = torch.cuda.current_stream(self.device)
            current.wait_stream(self.stream)
            for wave in self.waiting.waves.values():
                wave.record_stream(current)
        batch, self.waiting = self.waiting, self._fetch()
        return batch


class Training:
    """Model, optimiser and data of the measurement."""

    def __init__(self, args: argparse.Namespace, folder: Path) -> None:
        self.device = torch.device(args.device)
        torch.backends.cudnn.benchmark = True
        self.precision = "bf16" if has_bfloat16(self.device.type) else "fp32"
        config = configured(args.batch, self.precision)
        self.model = build_model(config).to(self.device).to(memory_format=torch.channels_last).train()
        self.optimizer = REGISTRY.build("optimizer", config["optimizer"], "optimizer", model=self.model)
        for group in self.optimizer.param_groups:
            group["fused"] = True
        data = dataset_of(self.model, write_archive(folder, args.clips, 5.0), config)
        self.batches = Prefetcher(data, 0, depth=8)
        self.loader = Loader(self.batches, self.device)
        self.compiled = "eager"
        if args.compile == "true":
            self._compile()

    def _compile(self) -> None:
        """Compile the encoder; whatever goes wrong leaves it eager."""
        encoder = self.model.encoder
        try:
            encoder.compile(dynamic=False)
            self.step()
            self.compiled = "compiled"
        except Exception as error:  # a compiler fails in many ways, and none of them should end the measurement
            encoder._compiled_call_impl = None
            print(f"gpu: not compiled ({type(error).__name__}: {str(error).splitlines()[0]})", file=sys.stderr)

    def loss(self) -> torch.Tensor:
        """Joint loss of the next batch."""
        batch = self.loader.next()
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.precision == "bf16"):
            return self.model(batch).loss

    def step(self) -> None:
        """One optimiser step, without waiting for its end."""
        self.optimizer.zero_grad(set_to_none=True)
        self.loss().backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 5.0, foreach=True)
        self.optimizer.step()

    def run(self, steps: int) -> float:
        """Seconds of so many steps."""
        self.wait()
        started = time.perf_counter()
        for _ in range(steps):
            self.step()
        self.wait()
        return time.perf_counter() - started

    def wait(self) -> None:
        """Until the device has done everything."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def busy(self, steps: int) -> str:
        """Share of the time in which a kernel runs, from a profile."""
        if self.device.type != "cuda":
            return "not a GPU"
        activities = [torch.profiler.ProfilerActivity.CUDA]
        with torch.profiler.profile(activities=activities) as profile:
            took = self.run(steps)
        kernels = sorted((e.time_range.start, e.time_range.end) for e in profile.events() if e.device_type == torch.autograd.DeviceType.CUDA)
        return f"{_union(kernels) / 1e6 / took:.0%}"


def _union(spans: List[Tuple[float, float]]) -> float:
    """Length that sorted spans cover together."""
    covered, end = 0.0, float("-inf")
    for first, last in spans:
        covered += max(0.0, last - max(first, end))
        end = max(end, last)
    return covered


class Traffic(TorchDispatchMode):
    """Bytes that operations read and write when nothing is fused: inputs and outputs of every one that is not a view."""

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
    encoder = training.model.encoder
    compiled, encoder._compiled_call_impl = encoder._compiled_call_impl, None
    with FlopCounterMode(display=False) as counter:
        training.loss()
    with Traffic() as traffic:
        training.loss().backward()
    encoder._compiled_call_impl = compiled
    # Each product has two of its size in the backward pass; torch's counter takes grouped ones there for dense ones.
    return 3.0 * counter.get_total_flops(), float(traffic.bytes)


def ceilings(training: Training, size: int) -> Tuple[float, float]:
    """Measured bfloat16 matrix products, FLOP/s, and copies, byte/s (read and written)."""
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


def main() -> None:
    """Throughput, then the roofline."""
    options = parser(__doc__, batch=(1024, 8), steps=(50, 2), clips=(4096, 32), matrix=(8192, 512))
    options.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options.add_argument("--compile", choices=["true", "false"], default="true")
    args = parse(options)
    if args.device == "cpu" and not args.quick and args.batch > 64:
        print("gpu: left out, no GPU here; --quick, or --batch 8 --steps 2 --device cpu, runs it on the CPU")
        return
    if args.device == "cpu" and args.quick:
        args.compile = "false"  # compiling takes longer than all the rest
    with tempfile.TemporaryDirectory() as folder:
        training = Training(args, Path(folder))
        training.run(max(1, args.steps // 10))
        times: Values = {"ours": [training.run(args.steps) / args.steps for _ in range(args.repeats)]}
        median = sorted(times["ours"])[len(times["ours"]) // 2]
        segments = VIEWS * args.batch
        schedule = SCHEDULE_STEPS * SCHEDULE_CLIPS * VIEWS * median / segments / 60
        said = f"{segments / median:,.0f} segments/s, device busy {training.busy(args.steps)}, published schedule in {schedule:.1f} min"
        write_row(args, f"step of batch {args.batch}, three strategies, efficientnet_b0, {training.precision}, {args.device}, {training.compiled}", times, said)
        roofline(args, training, segments, median)
        training.batches.close()


def roofline(args: argparse.Namespace, training: Training, segments: int, step: float) -> None:
    """What the device could do at most with the work of a step."""
    flops, moved = work(training)
    products, copies = ceilings(training, args.matrix)
    bounds: Dict[str, float] = {"matrix products": flops / products, "unfused memory traffic": moved / copies}
    said = (
        f"{flops / segments / 1e9:.2f} GFLOP and {moved / segments / 1e6:.1f} MB (unfused) a segment; ceilings {products / 1e12:.2f} TFLOP/s, "
        f"{copies / 1e9:.0f} GB/s; a step takes at least " + ", ".join(f"{1e3 * t:.1f} ms by {name}" for name, t in bounds.items())
    )
    figure = f"roofline of a step of batch {args.batch}, {args.device}: time against the larger bound"
    write_row(args, figure, {"ours": [step], "reference": [max(bounds.values())]}, said)


if __name__ == "__main__":
    main()
