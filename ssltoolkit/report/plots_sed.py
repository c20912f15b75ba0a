"""Sound event timelines: spectrogram, reference and predicted events, posteriors."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Dict, List, Mapping, Tuple

import numpy as np

from ssltoolkit.evaluation.event_metrics import EVENT_METRICS, f_measure
from ssltoolkit.report.audio import find_audio, spectrogram
from ssltoolkit.report.style import COLOUR_MAP, COLOURS, Picture, figure, file_name, save

DYNAMIC_RANGE_DB = 70.0
REFERENCE, PREDICTED = COLOURS[0], COLOURS[1]


def chosen_files(arrays: Mapping[str, np.ndarray], metric: str) -> List[Tuple[str, int, float]]:
    """(``best``, ``median`` or ``worst``, file index, F of the first seed) among the files with reference events."""
    counts = arrays[f"counts:{metric}"][0]
    files = np.flatnonzero(counts[:, 1] > 0)
    if not len(files):
        return []
    scores = f_measure(counts[files])
    order = np.argsort(-scores, kind="stable")
    places = {"best": order[0], "median": order[len(order) // 2], "worst": order[-1]}
    return [(name, int(files[place]), float(scores[place])) for name, place in places.items()]


def timelines(result: Mapping[str, Any], arrays: Dict[str, np.ndarray], output: Path) -> List[Picture]:
    """One picture each for the best, the median and the worst file, of the first probe seed."""
    metric = next((name for name in result["scores"] if name in EVENT_METRICS), None)
    if metric is None:
        return []
    pictures = []
    for which, file, score in chosen_files(arrays, metric):
        fig = _timeline(result, arrays, file)
        utt = str(arrays["utt_ids"][file])
        name = f"timeline_{file_name(result['task_name'])}_{file_name(result['model'])}_{which}.png"
        title = f"{result['task_name']}: {which} file ({utt}, F {100 * score:.0f} %)"
        caption = (
            f"{result['model']}, first probe seed. Upper half of each lane: reference; lower half: prediction. "
            "Median filter and threshold turn the posteriors into events."
        )
        pictures.append(Picture(save(fig, output / name), title, caption))
    return pictures


def _timeline(result: Mapping[str, Any], arrays: Dict[str, np.ndarray], file: int) -> Any:
    names = [str(name) for name in arrays["vocabulary"]]
    frames = slice(int(arrays["bounds"][file]), int(arrays["bounds"][file + 1]))
    times = arrays["times_ms"][frames] / 1000.0
    lane = max(0.16, 0.36 - 0.008 * len(names))
    heights = [2.4, 0.8 + lane * len(names), 0.8 + lane * len(names)]
    fig, axes = figure(
        3, 1, height=0.8 + sum(heights), sharex=True, gridspec_kw={"height_ratios": heights}
    )  # fmt: skip
    top, middle, bottom = axes[:, 0]
    _draw_spectrogram(fig, top, result, str(arrays["utt_ids"][file]))
    _draw_events(middle, arrays, file, names)
    half = (times[1] - times[0]) / 2 if len(times) > 1 else 0.02
    extent = (times[0] - half, times[-1] + half, len(names) - 0.5, -0.5)
    posteriors = arrays["posteriors"][frames].astype(np.float32).T
    image = bottom.imshow(
        posteriors, cmap=COLOUR_MAP, vmin=0, vmax=1, aspect="auto", extent=extent, interpolation="nearest"
    )  # fmt: skip
    fig.colorbar(image, ax=bottom, label="probability", pad=0.01)
    bottom.set_yticks(range(len(names)), names)
    bottom.set_title("posteriors", loc="left")
    bottom.set_xlabel("time (s)")
    bottom.set_xlim(0, times[-1] + half)
    return fig


def _draw_spectrogram(fig: Any, axis: Any, result: Mapping[str, Any], utt: str) -> None:
    axis.set_title(f"{utt} ({result['model']})", loc="left")
    axis.set_ylabel("frequency (kHz)")
    found = find_audio(result["meta"], utt)
    if found is None:
        axis.text(0.5, 0.5, "audio not found", transform=axis.transAxes, ha="center", va="center")
        return
    decibel, extent = spectrogram(*found)
    image = axis.imshow(
        decibel, origin="lower", aspect="auto", extent=extent, cmap="magma", vmin=-DYNAMIC_RANGE_DB, vmax=0
    )  # fmt: skip
    fig.colorbar(image, ax=axis, label="level (dB)", pad=0.01)


def _draw_events(axis: Any, arrays: Dict[str, np.ndarray], file: int, names: List[str]) -> None:
    for kind, shift, colour in (("reference", -0.4, REFERENCE), ("predicted", 0.0, PREDICTED)):
        here = (arrays[f"{kind}_file"] == file) & (arrays[f"{kind}_seed"] == 0)
        onset, offset = arrays[f"{kind}_onset"][here], arrays[f"{kind}_offset"][here]
        for label, start, end in zip(arrays[f"{kind}_label"][here], onset, offset):
            axis.broken_barh([(start, end - start)], (label + shift, 0.4), color=colour, edgecolor="white")
        axis.plot(
            [], [], color=colour, linewidth=8, label="reference (upper)" if kind == "reference" else "predicted (lower)"
        )
    for lane in range(len(names) - 1):
        axis.axhline(lane + 0.5, color="lightgrey", linewidth=0.8)
    axis.set_yticks(range(len(names)), names)
    axis.set_ylim(len(names) - 0.5, -0.5)
    axis.set_title("events", loc="left")
    axis.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=2, frameon=False)
