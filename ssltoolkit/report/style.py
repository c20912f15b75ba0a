"""Common style of all figures: 1,200 pixels wide, readable without zooming, safe for colour-blind readers."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple, Tuple

import matplotlib

matplotlib.use("Agg")

from matplotlib import pyplot  # noqa: E402

WIDTH_INCHES, DPI = 12.0, 100
#: Okabe and Ito's eight colours, with yellow last because it is faint on white
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000", "#F0E442")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
DASHES = ("-", "--", "-.", ":")
#: perceptually uniform, also for deuteranopia, and monotonic in grey
COLOUR_MAP = "cividis"
SETTINGS = {
    "figure.dpi": DPI,
    "savefig.dpi": DPI,
    "font.size": 13,
    "axes.titlesize": 14,
    "axes.labelsize": 13,
    "legend.fontsize": 12,
    "xtick.labelsize": 12,
    "ytick.labelsize": 12,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": False,
    "figure.constrained_layout.use": True,
}
pyplot.rcParams.update(SETTINGS)


class Picture(NamedTuple):
    """A PNG file with a heading and an explanatory caption."""

    path: Path
    title: str
    caption: str


def figure(rows: int = 1, columns: int = 1, height: float = 5.0, **options: Any) -> Tuple[Any, Any]:
    """A figure of the common width, ``height`` inches high, and its axes (always a 2-d array)."""
    return pyplot.subplots(rows, columns, figsize=(WIDTH_INCHES, height), squeeze=False, **options)


def save(fig: Any, path: Path) -> Path:
    """Write a PNG and close the figure."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fig.savefig(path)
    pyplot.close(fig)
    return path


def colour(number: int) -> str:
    """The colour of the ``number``-th series."""
    return COLOURS[number % len(COLOURS)]


def marker(number: int) -> str:
    """The marker of the ``number``-th series; markers differ between series of the same colour."""
    return MARKERS[(number + number // len(COLOURS)) % len(MARKERS)]


def file_name(text: str) -> str:
    """Convert text to a valid part of a file name."""
    return "".join(letter if letter.isalnum() or letter in "-_." else "_" for letter in text)
