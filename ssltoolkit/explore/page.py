"""The HTML page, which opens from disk: data are scripts, thumbnails are combined into sheets.

File names never reach the page as HTML or code: they are JSON strings in scripts, with ``<`` escaped, and the page
inserts them as text.
"""

from __future__ import annotations

import base64
import json
import math
import os
import re
import shutil
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Sequence, Tuple
from urllib.parse import quote

import numpy as np

from ssltoolkit.errors import writing
from ssltoolkit.explore.collect import Measured
from ssltoolkit.explore.index import Index
from ssltoolkit.explore.measure import THUMB

_SOURCE = Path(__file__).resolve().parent / "page"
#: largest number of near-duplicates and outliers listed; the page shows the total
LISTED = 200
#: thumbnails per row and per sheet
_ROW, _SHEET = 16, 256


class Page(NamedTuple):
    """Content of the page for N sounds; places and cosines are (N, neighbours)."""

    meta: Dict[str, Any]
    measured: Measured
    index: Index  # type: ignore[assignment]  # shadows tuple.index, which is not used
    points: np.ndarray
    clusters: np.ndarray
    medoids: Sequence[int]
    places: np.ndarray
    cosines: np.ndarray
    duplicates: Sequence[Tuple[int, int, float]]
    outliers: np.ndarray
    labels: List[str]


def write_page(page: Page, folder: Path, copy: bool) -> Path:
    """Write ``index.html``, ``assets/`` and ``data/``, with ``copy`` also ``audio/``; returns the path of the page."""
    import plotly

    for name in ("assets", "data"):
        shutil.rmtree(folder / name, ignore_errors=True)
        (folder / name).mkdir(parents=True)
    with writing(folder):
        shutil.copy(Path(plotly.__file__).parent / "package_data" / "plotly.min.js", folder / "assets")
        for name in ("page.css", "page.js", "map.js"):
            shutil.copy(_SOURCE / name, folder / "assets")
        _write_sheets(page.measured.thumbs, folder / "data")
        (folder / "data/sounds.js").write_text(
            script("SOUNDS", _sounds(page, _links(page, folder, copy))), encoding="utf-8"
        )
        (folder / "data/windows.js").write_text(script("WINDOWS", _windows(page.index)), encoding="utf-8")
        shutil.copy(_SOURCE / "index.html", folder / "index.html")
    return folder / "index.html"


def script(name: str, value: Any) -> str:
    """``value`` as a script that defines ``name``; text is escaped so that it cannot end the script or its line."""
    text = json.dumps(value, ensure_ascii=True, separators=(",", ":"), allow_nan=False)
    return f"window.{name} = {text.replace('<', chr(92) + 'u003c')};\n"


def _links(page: Page, folder: Path, copy: bool) -> str:
    """Prefix of the links to the sounds; with ``copy`` the files are copied there."""
    root = Path(page.meta["root"])
    if not copy:
        # Relative links.
        return quote(os.path.relpath(root, folder.resolve()).replace(os.sep, "/")) + "/"
    for path in page.measured.paths:
        target = folder / "audio" / below(path)
        if not target.is_file() or _state(target) != _state(root / path):
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(root / path, target)
    return "audio/"


def _state(path: Path) -> Tuple[int, int]:
    """Size and modification time, ns."""
    status = path.stat()
    return status.st_size, status.st_mtime_ns


def below(path: str) -> str:
    """A relative path without ``..``, for sounds that a link places outside of the folder.

    Example:
        >>> below("../../other/kick.wav")
        '_up/_up/other/kick.wav'
    """
    return re.sub(r"^(\.\./)+", lambda up: up[0].replace("..", "_up"), path)


def _sounds(page: Page, link: str) -> Dict[str, Any]:
    measured = page.measured
    window, hop = page.meta["window_seconds"]
    low, span = page.points.min(axis=0), np.ptp(page.points, axis=0)
    # If all points coincide (for example a single sound), place them in the middle.
    points = np.where(span > 1e-9, (page.points - low) / np.maximum(span, 1e-9), 0.5)
    return {
        "link": link, "root": page.meta["root"], "model": page.meta["model"], "leftOut": len(measured.left_out),
        "paths": measured.paths, "x": _rounded(points[:, 0], 5), "y": _rounded(points[:, 1], 5),
        "seconds": _rounded(measured.seconds, 3),
        "pitch": [None if math.isnan(hz) else round(float(hz), 1) for hz in measured.pitch],
        "labels": page.labels, "clusters": page.clusters.tolist(), "medoids": list(page.medoids),
        "near": page.places.tolist(), "cosines": [_rounded(row, 3) for row in page.cosines],
        "duplicates": [[a, b, round(cosine, 4)] for a, b, cosine in page.duplicates[:LISTED]],
        "alike": len(page.duplicates), "outliers": page.outliers[:LISTED].tolist(), "first": page.index.first.tolist(),
        "window": window, "hop": hop, "thumb": list(THUMB), "row": _ROW, "sheet": _SHEET,
    }  # fmt: skip


def _rounded(values: np.ndarray, digits: int) -> List[float]:
    return [round(float(value), digits) for value in values]


def _windows(index: Index) -> Dict[str, Any]:
    """Unit vectors as bytes: 127 means 0.5, because values of 64-dimensional unit vectors are rarely larger."""
    values = np.clip(np.rint(index.windows * 254), -127, 127).astype(np.int8)
    return {"dim": int(values.shape[1]), "values": base64.b64encode(values.tobytes()).decode("ascii")}


def _write_sheets(thumbs: np.ndarray, folder: Path) -> None:
    """Write JPEG sheets of many thumbnails each: one file per sound would be slow to copy and to load."""
    from PIL import Image

    colours = _colours()
    columns, rows = THUMB
    for number, start in enumerate(range(0, len(thumbs), _SHEET)):
        part = thumbs[start : start + _SHEET]
        sheet = np.zeros((math.ceil(len(part) / _ROW) * rows, _ROW * columns), np.uint8)
        for place, thumb in enumerate(part):
            top, left = place // _ROW * rows, place % _ROW * columns
            sheet[top : top + rows, left : left + columns] = thumb
        Image.fromarray(colours[sheet]).save(folder / f"thumbs{number}.jpg", quality=70, subsampling=0)


def _colours() -> np.ndarray:
    """The magma colour map, (256, 3) uint8."""
    from matplotlib import colormaps

    return (255 * colormaps["magma"](np.arange(256))[:, :3]).round().astype(np.uint8)
