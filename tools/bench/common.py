"""What every benchmark shares: alternating measurements and the table of results."""

from __future__ import annotations

import platform
import statistics
import sys
import time
from pathlib import Path
from typing import Callable, Dict, List

RESULTS = Path(__file__).with_name("RESULTS.md")
HEADER = """# Benchmarks

Written by the programs of this folder. Ours and the plain reference are measured alternately in one run; times are the median of
the repeats with minimum and maximum.

| figure | ours (s) | reference (s) | ratio | repeats | machine and versions | command |
|---|---|---|---|---|---|---|
"""


def alternate(ours: Callable[[], object], reference: Callable[[], object], repeats: int) -> Dict[str, List[float]]:
    """Times of both in seconds, measured in turn after one warm-up of each."""
    ours(), reference()
    times: Dict[str, List[float]] = {"ours": [], "reference": []}
    for _ in range(repeats):
        for name, function in (("ours", ours), ("reference", reference)):
            started = time.perf_counter()
            function()
            times[name].append(time.perf_counter() - started)
    return times


def machine() -> str:
    """Processor, number of CPUs usable, versions."""
    import numba
    import numpy
    import torch

    model = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), platform.processor())
    return f"{model}, {torch.get_num_threads()} threads, python {platform.python_version()}, torch {torch.__version__}, numpy {numpy.__version__}, numba {numba.__version__}"


def write_row(figure: str, times: Dict[str, List[float]]) -> None:
    """Put one figure into RESULTS.md in place of its former row, and print it."""
    cells = {name: f"{statistics.median(values):.4g} ({min(values):.4g} to {max(values):.4g})" for name, values in times.items()}
    ratio = statistics.median(times["reference"]) / statistics.median(times["ours"])
    command = " ".join(["python3", f"tools/bench/{Path(sys.argv[0]).name}", *sys.argv[1:]])
    row = f"| {figure} | {cells['ours']} | {cells['reference']} | {ratio:.1f} | {len(times['ours'])} | {machine()} | `{command}` |"
    lines = RESULTS.read_text().splitlines() if RESULTS.is_file() else HEADER.splitlines()
    kept = [line for line in lines if not line.startswith(f"| {figure} |")]
    RESULTS.write_text("\n".join([*kept, row]) + "\n")
    print(row)
