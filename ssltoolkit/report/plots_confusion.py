"""Confusion matrices: clip classes, and pitches on a piano axis."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Dict, List, Mapping

import numpy as np
from matplotlib.patches import Rectangle

from ssltoolkit.report.style import COLOUR_MAP, Picture, figure, file_name, save

#: largest number of classes for which cells show their value and class names are not rotated
MAX_ANNOTATED = 16
NOTES = ("C", "C♯", "D", "D♯", "E", "F", "F♯", "G", "G♯", "A", "A♯", "B")
BLACK_KEYS = (1, 3, 6, 8, 10)


def note_name(midi: int) -> str:
    """Name of a MIDI number, such as C4 for 60."""
    return f"{NOTES[midi % 12]}{midi // 12 - 1}"


def confusion(arrays: Mapping[str, np.ndarray], values: np.ndarray) -> np.ndarray:
    """Row-normalised confusion matrix (C, C) over all seeds.

    Args:
        values: (C,) row and column of each class.
    """
    size = int(values.max()) + 1
    predicted = values[np.argmax(arrays["probabilities"], axis=2)]
    targets = np.broadcast_to(values[arrays["targets"]], predicted.shape)
    counts = np.zeros((size, size))
    np.add.at(counts, (targets.reshape(-1), predicted.reshape(-1)), 1)
    totals = counts.sum(axis=1, keepdims=True)
    return np.divide(counts, totals, out=np.zeros_like(counts), where=totals > 0)


def clip_confusion(result: Mapping[str, Any], arrays: Dict[str, np.ndarray], output: Path) -> List[Picture]:
    """Confusion matrix of clip classes: true class in rows, predicted class in columns."""
    names = [str(name) for name in arrays["vocabulary"]]
    share = 100.0 * confusion(arrays, np.arange(len(names)))
    size = min(11.0, max(4.0, 0.5 * len(names) + 2.0))
    fig, axes = figure(height=size)
    axis = axes[0, 0]
    image = axis.imshow(share, cmap=COLOUR_MAP, vmin=0, vmax=100, aspect="auto")
    step = max(1, len(names) // 40)
    axis.set_xticks(
        range(0, len(names), step), names[::step], rotation=45 if len(names) <= MAX_ANNOTATED else 90, ha="right"
    )
    axis.set_yticks(range(0, len(names), step), names[::step])
    axis.set_xlabel("predicted class")
    axis.set_ylabel("true class")
    axis.set_title(f"{result['task_name']}, {result['model']}", loc="left")
    if len(names) <= MAX_ANNOTATED:
        for row, column in np.ndindex(share.shape):
            if share[row, column] >= 0.5:
                text_colour = "black" if share[row, column] > 55 else "white"
                axis.text(column, row, f"{share[row, column]:.0f}", ha="center", va="center", color=text_colour)
    fig.colorbar(
        image,
        ax=axis,
        label="share of the true class (%)",
    )
    name = f"confusion_{file_name(result['task_name'])}_{file_name(result['model'])}.png"
    caption = (
        f"{len(arrays['utt_ids'])} test files, all probe seeds together; a perfect probe lights the diagonal only."
    )
    return [Picture(save(fig, output / name), f"{result['task_name']}: which classes are confused", caption)]


def _keyboard(axis: Any, low: int, high: int, vertical: bool) -> None:
    """A piano keyboard along one side of the matrix, drawn in an axis that shares its limits."""
    for midi in range(low, high + 1):
        black = midi % 12 in BLACK_KEYS
        place, length = midi - 0.5, 0.62 if black else 1.0
        size = (length, 1.0) if vertical else (1.0, length)
        start = (1.0 - length, place) if vertical else (place, 1.0 - length)
        axis.add_patch(
            Rectangle(start, *size, facecolor="black" if black else "white", edgecolor="grey", linewidth=0.8)
        )
    ticks = [midi for midi in range(low, high + 1) if midi % 12 == 0 or midi in (low, high)]
    ticks = [midi for midi in ticks if midi % 12 == 0 or all(abs(midi - c) > 2 for c in ticks if c % 12 == 0)]
    labels = [f"{note_name(midi)} ({midi})" if vertical else f"{note_name(midi)}\n{midi}" for midi in ticks]
    if vertical:
        axis.set(xlim=(0, 1), ylim=(low - 0.5, high + 0.5), xticks=[])
        axis.set_yticks(ticks, labels)
        axis.set_ylabel("true pitch (note, MIDI number)")
    else:
        axis.set(ylim=(0, 1), xlim=(low - 0.5, high + 0.5), yticks=[])
        axis.set_xticks(ticks, labels)
        axis.set_xlabel("predicted pitch (note, MIDI number)")
    for side in axis.spines.values():
        side.set_visible(False)


def pitch_confusion(result: Mapping[str, Any], arrays: Dict[str, np.ndarray], output: Path) -> List[Picture]:
    """Confusion matrix of pitches with piano keys along both axes; octave errors are on the dashed lines."""
    midi = np.array([int(name) for name in arrays["vocabulary"]])
    low, high = int(midi.min()), int(midi.max())
    share = 100.0 * confusion(arrays, midi - low)
    fig, axes = figure(
        2, 2, height=10.0, gridspec_kw={"width_ratios": [0.05, 1], "height_ratios": [1, 0.05], "wspace": 0, "hspace": 0}
    )
    axis = axes[0, 1]
    edges = (low - 0.5, high + 0.5)
    image = axis.imshow(
        share, cmap=COLOUR_MAP, vmin=0, vmax=100, origin="lower", extent=(*edges, *edges), aspect="auto"
    )
    for octave in range(12, high - low + 1, 12):
        for sign in (-1, 1):
            axis.plot(edges, [edge + sign * octave for edge in edges], "--", color="white", linewidth=1, alpha=0.8)
    axis.set(xlim=edges, ylim=edges, xticks=[], yticks=[])
    axis.set_title(f"{result['task_name']}, {result['model']}", loc="left")
    _keyboard(axes[0, 0], low, high, vertical=True)
    _keyboard(axes[1, 1], low, high, vertical=False)
    axes[1, 0].set_visible(False)
    fig.colorbar(image, ax=axes[:, 1], label="share of the true pitch (%)", shrink=0.8)
    name = f"pitches_{file_name(result['task_name'])}_{file_name(result['model'])}.png"
    caption = (
        "Rows of pitches without test files stay dark. Dashed lines: octave errors, which count as right in the chroma "
        "accuracy."
    )
    return [Picture(save(fig, output / name), f"{result['task_name']}: which pitches are confused", caption)]
