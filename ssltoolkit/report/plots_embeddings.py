"""Figures of embeddings: a 2-D map of scenes, and the self-similarity of the frames of one clip."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence

import numpy as np

from ssltoolkit.errors import DataError
from ssltoolkit.evaluation.store import EmbeddingStore
from ssltoolkit.report.plots_confusion import note_name
from ssltoolkit.report.plots_sed import chosen_files
from ssltoolkit.report.style import COLOUR_MAP, COLOURS, Picture, colour, figure, file_name, marker, save

#: largest number of files in a map, and of frames in a self-similarity matrix
MAX_POINTS, MAX_FRAMES = 1500, 1500


def _store_of(meta: Mapping[str, Any], utt: str) -> Optional[EmbeddingStore]:
    """The embedding folder of a test file; None if the embeddings no longer exist."""
    root = Path(meta["embed_dir"])
    folders = [root / "test", root, *sorted(path for path in root.glob("fold*"))]
    for folder in folders:
        if (folder / "meta.json").is_file():
            try:
                store = EmbeddingStore(folder)
                store.rows(utt)
                return store
            except DataError:
                continue
    return None


def project(rows: np.ndarray) -> np.ndarray:
    """(n, 2): t-SNE of the standardised rows, after a PCA to 50 dimensions."""
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    scaled = (rows - rows.mean(axis=0)) / np.maximum(rows.std(axis=0), 1e-6)
    reduced = PCA(min(50, *scaled.shape), random_state=0).fit_transform(scaled)
    perplexity = min(30.0, max(2.0, (len(rows) - 1) / 4))
    return TSNE(2, perplexity=perplexity, init="pca", random_state=0).fit_transform(reduced)


def _paint_classes(fig: Any, axis: Any, points: np.ndarray, targets: np.ndarray, names: Sequence[str]) -> None:
    """Draw points (n, 2) with a colour and a marker per class, and a legend."""
    for number, name in enumerate(names):
        here = targets == number
        axis.scatter(
            *points[here].T, color=colour(number), marker=marker(number), s=44, edgecolors="white", linewidths=0.4,
            label=name,
        )  # fmt: skip
    fig.legend(loc="outside right upper", frameon=False, ncols=1 + len(names) // 28)


def _paint_pitches(fig: Any, axis: Any, points: np.ndarray, targets: np.ndarray, names: Sequence[str]) -> None:
    """Draw points (n, 2) coloured by MIDI number, with octaves labelled on the colour bar."""
    midi = np.array([int(name) for name in names])[targets]
    image = axis.scatter(*points.T, c=midi, cmap="viridis", s=40, edgecolors="white", linewidths=0.4)
    bar = fig.colorbar(image, ax=axis, label="pitch (note, MIDI number)")
    ticks = [value for value in range(int(midi.min()), int(midi.max()) + 1) if value % 12 == 0]
    bar.set_ticks(ticks, labels=[f"{note_name(value)} ({value})" for value in ticks])


def pitch_map(result: Mapping[str, Any], arrays: Dict[str, np.ndarray], output: Path) -> List[Picture]:
    """Like :func:`scene_map`, for classes that are MIDI numbers."""
    return scene_map(result, arrays, output, _paint_pitches)


def scene_map(
    result: Mapping[str, Any], arrays: Dict[str, np.ndarray], output: Path, paint: Callable = _paint_classes
) -> List[Picture]:
    """t-SNE map of the test files' scene embeddings, coloured by label."""
    store = _store_of(result["meta"], str(arrays["utt_ids"][0]))
    if store is None or arrays["targets"].ndim != 1 or len(arrays["utt_ids"]) < 8:
        return []
    known = set(store.utt_ids)
    kept = np.array([i for i, utt in enumerate(arrays["utt_ids"]) if str(utt) in known])
    if len(kept) > MAX_POINTS:
        kept = np.sort(np.random.default_rng([0, 31]).choice(kept, MAX_POINTS, replace=False))
    rows = np.stack([store.matrix[store.rows(str(arrays["utt_ids"][i])).start] for i in kept])
    points, targets = project(rows), arrays["targets"][kept]
    names = [str(name) for name in arrays["vocabulary"]]
    fig, axes = figure(height=8.0)
    axis = axes[0, 0]
    paint(fig, axis, points, targets, names)
    axis.set_xlabel("t-SNE 1 (no unit)")
    axis.set_ylabel("t-SNE 2 (no unit)")
    axis.set_title(f"{result['task_name']}, {result['model']}: {len(kept)} test files", loc="left")
    name = f"map_{file_name(result['task_name'])}_{file_name(result['model'])}.png"
    caption = (
        "Neighbours have similar frozen embeddings, before any probe; distances between far groups are meaningless."
    )
    return [Picture(save(fig, output / name), f"{result['task_name']}: map of the scene embeddings", caption)]


def self_similarity(
    result: Mapping[str, Any], arrays: Dict[str, np.ndarray], metric: str, output: Path
) -> List[Picture]:
    """Cosine similarity between all frames of the median file, with its reference events alongside."""
    chosen = [file for which, file, _ in chosen_files(arrays, metric) if which == "median"]
    if not chosen:
        return []
    file, utt = chosen[0], str(arrays["utt_ids"][chosen[0]])
    store = _store_of(result["meta"], utt)
    if store is None:
        return []
    frames = np.asarray(store.matrix[store.rows(utt)], dtype=np.float64)[:MAX_FRAMES]
    times = store.timestamps_ms(utt)[:MAX_FRAMES] / 1000.0
    centred = frames - frames.mean(axis=0)
    unit = centred / np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-12)
    half = (times[1] - times[0]) / 2 if len(times) > 1 else 0.02
    edges = (times[0] - half, times[-1] + half)
    fig, axes = figure(2, 1, height=11.0, sharex=True, gridspec_kw={"height_ratios": [0.18, 1]})
    strip, axis = axes[:, 0]
    names = [str(name) for name in arrays["vocabulary"]]
    here = arrays["reference_file"] == file
    labels = sorted(set(arrays["reference_label"][here].tolist()))
    for label, onset, offset in zip(*(arrays[f"reference_{n}"][here] for n in ("label", "onset", "offset"))):
        strip.broken_barh([(onset, offset - onset)], (labels.index(label) - 0.4, 0.8), color=COLOURS[0])
    strip.set_yticks(range(len(labels)), [names[label] for label in labels])
    strip.set_ylim(len(labels) - 0.5, -0.5)
    strip.set_title(f"{utt} ({result['model']}): reference events", loc="left")
    image = axis.imshow(
        unit @ unit.T, cmap=COLOUR_MAP, vmin=-1, vmax=1, origin="lower", extent=(*edges, *edges), aspect="auto"
    )
    axis.set_xlabel("time (s)")
    axis.set_ylabel("time (s)")
    fig.colorbar(image, ax=axes[:, 0], label="cosine similarity of centred frames")
    name = f"similarity_{file_name(result['task_name'])}_{file_name(result['model'])}.png"
    caption = "Bright squares on the diagonal are spans of similar sound; they should line up with the events."
    return [Picture(save(fig, output / name), f"{result['task_name']}: self-similarity of the frames", caption)]
