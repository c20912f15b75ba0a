"""Merging of results of several pre-training seeds: rows are means over seeds, intervals include their spread."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Dict, List, Mapping, Sequence, Union

import numpy as np

from ssltoolkit.errors import DataError, UserError
from ssltoolkit.evaluation.results import check_same_training, evidence_of, load_arrays, read_result, write_result
from ssltoolkit.evaluation.statistics import confidence_interval, mean_score
from ssltoolkit.evaluation.task import task_of

PathLike = Union[str, Path]


def merge_folders(folders: Sequence[PathLike], output: PathLike) -> Path:
    """Merge result folders of the same layout, one per pre-training seed.

    Args:
        folders: each with ``<model>/<task>.json``; all contain the same files.
        output: folder of the merged results; those of an earlier merge are removed.

    Returns:
        ``output``.

    Raises:
        UserError: a result is missing in one of the folders, results have different files, or ``output`` is one of the
            folders, contains one, is inside one, or contains results that are not merged.
    """
    _check_apart(folders, Path(output))
    trees = [
        {path.relative_to(folder): path for path in sorted(Path(folder).rglob("*.json"))}
        for folder in map(Path, folders)
    ]
    if not trees[0]:
        raise DataError(f"{folders[0]}: no result files (*.json); run ssltoolkit evaluate first (stages 6 to 8)")
    for folder, tree in zip(folders, trees):
        for name in sorted(set(trees[0]) ^ set(tree)):
            where = folder if name not in tree else folders[0]
            raise DataError(f"{where}: no result {name}, which another seed has; evaluate all seeds the same way")
    _clear(Path(output))
    for name in trees[0]:
        merge([tree[name] for tree in trees], Path(output) / name)
    return Path(output)


def _check_apart(folders: Sequence[PathLike], output: Path) -> None:
    there = output.resolve()
    for folder in map(Path, folders):
        here = folder.resolve()
        if here == there or here in there.parents or there in here.parents:
            raise UserError(
                f"--results {folder}: the merged results go to {output}; give another --output, outside of every "
                "--results"
            )


def _clear(output: Path) -> None:
    """Remove the results of an earlier merge; if any result is not merged, remove nothing and raise an error."""
    earlier = [read_result(path) for path in sorted(output.rglob("*.json"))]
    for result in earlier:
        if "runs" not in result.get("meta", {}):
            raise DataError(
                f"{result['path']}: not a merged result, and would be mixed with merged ones; give another --output, "
                "or remove it"
            )
    for result in earlier:
        Path(result["path"]).unlink()
        Path(result["per_file"]).unlink(missing_ok=True)


def merge(paths: Sequence[PathLike], output: PathLike) -> Dict[str, Any]:
    """Merge results of one model and task, one per pre-training seed, into ``output``.

    Per-file counts are averaged over the probe seeds of a run, so that the bootstrap over seeds resamples pre-training
    runs. Ranking metrics use the first probe seed of each run; metrics without per-file results are dropped.

    Raises:
        UserError: the runs have different files or labels, or their probes trained on different shares of the data.
    """
    results = [read_result(path) for path in paths]
    runs = [load_arrays(result) for result in results]
    for path, result, arrays in zip(paths, results, runs):
        same = result["meta"].get("data_hash") == results[0]["meta"].get("data_hash")
        if not same or not np.array_equal(arrays["utt_ids"], runs[0]["utt_ids"]):
            raise DataError(
                f"{path}: not measured on the same files and labels as {paths[0]}; evaluate all seeds on the same data"
            )
        check_same_training(results[0], result)
    merged = dict(runs[0])
    merged["seeds"] = np.arange(len(runs))
    for key in runs[0]:
        if key.startswith("counts:"):
            merged[key] = np.stack([arrays[key].mean(axis=0) for arrays in runs])
        elif key in ("probabilities", "predictions"):
            merged[key] = np.stack([arrays[key][0] for arrays in runs])
    result = {
        key: value
        for key, value in results[0].items()
        if key not in ("format", "path", "per_file", "label_efficiency", "probe")
    }
    result["scores"] = _scores(results[0], merged)
    result["probe"] = {**results[0]["probe"], "chosen": [one["probe"]["chosen"] for one in results]}
    result["meta"] = {**results[0]["meta"], "runs": [one["meta"] for one in results]}
    write_result(output, result, merged)
    return result


def _scores(measured: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Dict[str, Any]:
    """Scores of merged arrays, for the metrics of one of the results."""
    scores, task = {}, task_of(measured)
    for metric in measured["scores"]:
        if f"counts:{metric}" not in arrays and "probabilities" not in arrays:
            continue
        found: List[Any] = evidence_of(arrays, task.metric(metric))
        per_seed = mean_score(found)
        scores[metric] = {
            "mean": float(per_seed.mean()),
            "per_seed": per_seed.tolist(),
            "ci95": list(confidence_interval(found)),
        }
    return scores
