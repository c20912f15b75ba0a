"""Shared by all benchmarks: options, alternating measurements and the table of results."""

from __future__ import annotations

import argparse
import platform
import statistics
import sys
import time
from pathlib import Path
from typing import Callable, Dict, List, Optional, Sequence

ROOT = Path(__file__).resolve().parents[2]
RESULTS = Path(__file__).with_name("RESULTS.md")
HEADER = """# Benchmarks

Written by the programs of this folder; `tools/bench/run.sh` runs them all, `tools/bench/run.sh --quick` in a few minutes with small
sizes. Ours and the plain reference are measured alternately in one run; figures are the median of the repeats with minimum and
maximum. What was changed for speed, and what it gave, is in [NOTES.md](NOTES.md).

On a GPU (not measured: no GPU at hand): `python3 tools/bench/gpu.py --batch 1024 --steps 50`.

| figure | ours | reference | ratio | comes to | repeats | machine and versions | command |
|---|---|---|---|---|---|---|---|
"""
#: ours and reference -> one value per repeat
Values = Dict[str, List[float]]


def parser(description: Optional[str], **sizes: Sequence[int]) -> argparse.ArgumentParser:
    """Options of a benchmark.

    Args:
        description: description of the program.
        sizes: name -> (default, default with ``--quick``) of its sizes; read them with :func:`parse`.
    """
    options = argparse.ArgumentParser(description=description)
    options.add_argument("--quick", action="store_true", help="small sizes: seconds instead of minutes")
    options.add_argument("--repeats", type=int, default=5, help="number of measurements of each (default 5)")
    options.add_argument("--results", type=Path, default=RESULTS, help="table to write rows to")
    for name, (full, quick) in sizes.items():
        options.add_argument(f"--{name}", type=int, help=f"(default {full}, with --quick {quick})")
    options.set_defaults(sizes=sizes)
    return options


def parse(options: argparse.ArgumentParser, argv: Optional[Sequence[str]] = None) -> argparse.Namespace:
    """Parse arguments and fill in default sizes."""
    args = options.parse_args(argv)
    for name, (full, quick) in args.sizes.items():
        if getattr(args, name) is None:
            setattr(args, name, quick if args.quick else full)
    return args


def one_core() -> None:
    """Limit torch and NumPy's libraries to one core."""
    import threadpoolctl
    import torch

    torch.set_num_threads(1)
    threadpoolctl.threadpool_limits(1)


def seconds(function: Callable[[], object]) -> float:
    """Wall-clock time of one call."""
    started = time.perf_counter()
    function()
    return time.perf_counter() - started


def alternate(ours: Callable[[], object], reference: Callable[[], object], repeats: int) -> Values:
    """Times of both in seconds, measured alternately after one warm-up of each."""
    return alternate_values(lambda: seconds(ours), lambda: seconds(reference), repeats, warm_up=True)


def alternate_values(
    ours: Callable[[], float], reference: Callable[[], float], repeats: int, warm_up: bool = False
) -> Values:
    """Like :func:`alternate`, for functions that return their measurement."""
    if warm_up:
        ours(), reference()
    values: Values = {"ours": [], "reference": []}
    for _ in range(repeats):
        values["ours"].append(ours())
        values["reference"].append(reference())
    return values


def machine() -> str:
    """CPU or GPU, number of threads, versions."""
    import numba
    import numpy
    import torch

    name = platform.processor()
    if Path("/proc/cpuinfo").is_file():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), name)
    if torch.cuda.is_available():
        name += f" with {torch.cuda.get_device_name(0)}"
    versions = f"torch {torch.__version__}, numpy {numpy.__version__}, numba {numba.__version__}"
    return f"{name}, {torch.get_num_threads()} threads, python {platform.python_version()}, {versions}"


def write_row(args: argparse.Namespace, figure: str, values: Values, comes_to: str = "", unit: str = "s") -> None:
    """Write one figure to the table, replacing its old row, and print it.

    Args:
        args: from :func:`parse`.
        figure: what was measured, with its sizes.
        values: ``ours`` and, if any, ``reference``, one value per repeat.
        comes_to: a derived rate, share, ...
        unit: unit of the values.
    """
    cells = {
        name: f"{statistics.median(v):.4g} {unit} ({min(v):.4g} to {max(v):.4g})" for name, v in values.items() if v
    }
    ratio = "-"
    if values.get("reference"):
        ratio = f"{statistics.median(values['reference']) / max(statistics.median(values['ours']), 1e-12):.3g}"
    command = " ".join(["python3", f"tools/bench/{Path(sys.argv[0]).name}", *_shown(sys.argv[1:])])
    row = (
        f"| {figure} | {cells['ours']} | {cells.get('reference', '-')} | {ratio} | {comes_to or '-'} | "
        f"{len(values['ours'])} | {machine()} | `{command}` |"
    )
    rows = [line for line in _rows(args.results) if not line.startswith(f"| {figure} |")]
    args.results.write_text(HEADER + "\n".join([*rows, row]) + "\n", encoding="utf-8")
    print(row, flush=True)


def _rows(table: Path) -> List[str]:
    """Existing rows, without the header."""
    lines = table.read_text(encoding="utf-8").splitlines() if table.is_file() else []
    below = next((number for number, line in enumerate(lines) if line.startswith("|---")), len(lines))
    return [line for line in lines[below + 1 :] if line.startswith("| ")]


def _shown(arguments: Sequence[str]) -> List[str]:
    """Arguments for the table: without ``--results``, and absolute paths shortened to their last name."""
    shown, skip = [], False
    for argument in arguments:
        if not skip and not argument.startswith("--results"):
            shown.append(Path(argument).name if argument.startswith("/") else argument)
        skip = argument == "--results"
    return shown


def rate(amount: float, values: Values, what: str, name: str = "ours") -> str:
    """``amount`` per second of the median time, as text."""
    return f"{amount / statistics.median(values[name]):,.0f} {what}"
