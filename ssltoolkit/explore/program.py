"""The explore program: from a folder of audio to the HTML page."""

from __future__ import annotations

import importlib.util
import os
import time
from pathlib import Path
from typing import List

import numpy as np
from joblib import cpu_count

from ssltoolkit.data.scan import find_audio
from ssltoolkit.errors import UserError
from ssltoolkit.explore import vectors
from ssltoolkit.explore.collect import collect, load_arrays
from ssltoolkit.explore.index import make_index, save_index
from ssltoolkit.explore.labels import read_labels
from ssltoolkit.explore.measure import window_seconds
from ssltoolkit.explore.page import LISTED, Page, write_page

#: neighbours shown per sound, and smallest cosine of near-duplicates
NEIGHBOURS, ALIKE = 12, 0.97


def explore(
    audio_dir: str,
    output: str,
    model: str = "shipped",
    labels: str = "",
    kind: str = "umap",
    seed: int = 0,
    jobs: int = 0,
    copy: bool = False,
) -> Path:
    """Embed, map and write the page; continues an interrupted run.

    Args:
        audio_dir: folder to search recursively.
        output: folder to write.
        model: model name as in ``ssltoolkit embed --model``.
        labels: list with the columns ``path`` and ``label``.
        kind: kind of map: ``umap``, ``tsne``, ``pca``.
        seed: seed of the map.
        jobs: number of processes; 0 for one per CPU.
        copy: copy the audio next to the page.

    Returns:
        path of the page.

    Raises:
        UserError: no audio, no readable audio, or a missing package.
    """
    for name, package in (("plotly", "plotly"), *((("umap", "umap-learn"),) if kind == "umap" else ())):
        if importlib.util.find_spec(name) is None:
            raise UserError(
                f"{package} is not installed: pip install 'ssltoolkit[explore]'"
                + (" (or --map tsne)" if name == "umap" else "")
            )
    started = time.monotonic()
    folder = Path(output)
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder}: is a file; give a folder for the page")
    root, paths = _sounds(audio_dir, folder)
    loaded = load_arrays(model)
    meta = {
        "model": model,
        "model_hash": loaded.identity["model_hash"],
        "root": str(root),
        "sample_rate": loaded.sample_rate,
        "window_seconds": window_seconds(loaded.hop_ms),
    }
    del loaded
    measured = collect(root, paths, model, meta["model_hash"], folder / "cache", jobs or cpu_count())
    named = read_labels(labels, root, measured.paths) if labels else {}
    _list_left_out(measured.left_out, folder)
    print("neighbours, map and clusters ...", flush=True)
    index = make_index(measured, meta, seed)
    places, cosines = vectors.neighbours(index.sounds, NEIGHBOURS)
    points = vectors.layout(index.sounds, kind, seed)
    found = vectors.clusters(points)
    page = Page(
        meta, measured, index, points, found, vectors.medoids(index.sounds, found), places, cosines,
        vectors.duplicates(places, cosines, ALIKE), vectors.outliers(cosines, LISTED),
        [named.get(path, "") for path in measured.paths],
    )  # fmt: skip
    path = write_page(page, folder, copy)
    save_index(index, folder / "index")
    seconds = time.monotonic() - started
    size = (
        sum(
            file.stat().st_size
            for part in ("index.html", "assets", "data")
            for file in ([folder / part] if (folder / part).is_file() else (folder / part).rglob("*"))
        )
        / 2**20
    )
    length = float(np.sum(measured.seconds))
    print(
        f"{path}: {_counted(len(measured.paths), 'sound')}, {_long(length)}, "
        f"{_counted(int(found.max()) + 1, 'cluster')}; page {size:.1f} MB; {seconds:.0f} s. Open it in a browser."
    )
    return path


def _long(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 3600 else f"{seconds / 3600:.1f} h"


def _counted(number: int, what: str) -> str:
    return f"{number:,} {what}" + ("" if number == 1 else "s")


def _sounds(audio_dir: str, output: Path) -> tuple:
    """The folder and the relative paths of its audio, without the copies of an earlier run in ``output``."""
    root = Path(audio_dir)
    output.mkdir(parents=True, exist_ok=True)
    found = find_audio(root, output / "unread_audio.txt")
    root, copies = root.resolve(), (output / "audio").resolve()
    paths: List[str] = []
    for path in found.values():
        if copies not in path.parents:
            # Resolve links to their target.
            paths.append(os.path.relpath(path, root).replace(os.sep, "/"))
    if not paths:
        raise UserError(
            f"{audio_dir}: no audio files besides those of {output / 'audio'}, where --copy puts copies; "
            "give another --output"
        )
    if len(set(paths)) < len(paths):
        print(f"{len(paths) - len(set(paths))} of {len(paths)} names are links to a sound of the folder: shown once")
    return root, sorted(set(paths))


def _list_left_out(left_out: dict, folder: Path) -> None:
    path = folder / "left_out.tsv"
    path.unlink(missing_ok=True)
    if left_out:
        path.write_text(
            "path\treason\n"
            + "".join("\t".join(text.replace("\t", " ") for text in row) + "\n" for row in sorted(left_out.items())),
            encoding="utf-8",
        )
        print(f"{len(left_out)} audio file(s) cannot be read and are left out; listed in {path}")
