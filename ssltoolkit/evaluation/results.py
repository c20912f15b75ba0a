"""Result files: one JSON per model and task, and an npz next to it with the statistics of each test file."""

from __future__ import annotations

import json
import platform
import shlex
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Sequence, Union

import numpy as np

import ssltoolkit
from ssltoolkit.errors import DataError, plugin_errors, writing
from ssltoolkit.evaluation.metric import Metric
from ssltoolkit.evaluation.metrics import RANKED
from ssltoolkit.evaluation.round_result import RoundResult
from ssltoolkit.evaluation.statistics import Comparison, Evidence, compare, evidence
from ssltoolkit.evaluation.task import TaskData, task_of

PathLike = Union[str, Path]
FORMAT = 1


def versions() -> Dict[str, str]:
    """Versions of the libraries that compute the scores."""
    import scipy
    import torch

    return {
        "ssltoolkit": ssltoolkit.__version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "scipy": scipy.__version__,
    }


def git_commit() -> str:
    """Commit of the toolkit when it runs from a checkout, else an empty string."""
    try:
        where = Path(__file__).resolve().parent
        found = subprocess.run(
            ["git", "-C", str(where), "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True, check=False
        )
    except OSError:
        return ""
    return found.stdout.strip() if found.returncode == 0 else ""


def per_file_arrays(data: TaskData, rounds: Sequence[RoundResult], seeds: Sequence[int]) -> Dict[str, np.ndarray]:
    """The arrays of the npz. Files of all rounds are concatenated; ``round`` is the round of each.

    Always contains ``utt_ids, round, seeds, vocabulary`` and ``counts:<metric>`` (S, F, K), and the arrays that the
    task adds (:meth:`ssltoolkit.evaluation.task.Task.arrays`).
    """
    arrays: Dict[str, np.ndarray] = {
        "utt_ids": np.array([utt for result in rounds for utt in result.split.utt_ids]),
        "round": np.repeat(np.arange(len(rounds)), [len(result.split.utt_ids) for result in rounds]),
        "seeds": np.array(list(seeds)),
        "vocabulary": np.array(data.vocabulary, dtype=str),
    }
    for name in rounds[0].counts:
        arrays[f"counts:{name}"] = np.concatenate([result.counts[name] for result in rounds], axis=1)
    with plugin_errors(f"task {data.kind!r}"):
        return {**arrays, **data.task.arrays(rounds, seeds)}


def write_result(path: PathLike, result: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
    """Write ``<path>`` and ``<path without .json>.npz``, the JSON last and atomically."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    per_file = path.with_suffix(".npz")
    temporary = per_file.with_name(per_file.name + ".tmp")
    with writing(per_file), open(temporary, "wb") as out:
        np.savez_compressed(out, **arrays)
    temporary.replace(per_file)
    text = json.dumps({"format": FORMAT, **result, "per_file": per_file.name}, indent=1, allow_nan=False)
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(text + "\n", encoding="utf-8")
    temporary.replace(path)


def read_result(path: PathLike) -> Dict[str, Any]:
    """Read a result file; ``path`` and the absolute ``per_file`` are added.

    Raises:
        UserError: missing, not JSON, or not a result of this program.
    """
    path = Path(path)
    try:
        result = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); write it with ssltoolkit evaluate") from None
    except ValueError as error:
        raise DataError(
            f"{path}:{getattr(error, 'lineno', 1)}: not JSON; write it again with ssltoolkit evaluate"
        ) from None
    if not isinstance(result, dict) or "scores" not in result:
        raise DataError(f"{path}:1: not a result file (no 'scores'); write it with ssltoolkit evaluate")
    result["path"] = str(path)
    result["per_file"] = str(path.parent / result["per_file"])
    return result


def load_arrays(result: Mapping[str, Any]) -> Dict[str, np.ndarray]:
    """The npz of a result."""
    try:
        with np.load(result["per_file"], allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise DataError(f"{result['per_file']}: cannot be read ({error}); run ssltoolkit evaluate again") from None


def evidence_of(arrays: Mapping[str, np.ndarray], metric: Metric) -> List[Evidence]:
    """Inputs of the statistics, round by round."""
    found = []
    for number in range(int(arrays["round"].max()) + 1):
        here = arrays["round"] == number
        counts = arrays[f"counts:{metric.name}"][:, here] if f"counts:{metric.name}" in arrays else None
        ranked = counts is None
        scores = arrays["probabilities"][:, here] if ranked else None
        hear_rules = bool(arrays.get("hear_rules", arrays.get("kit_rules", False)))  # its former name
        found.append(evidence(metric, counts, scores, arrays["targets"][here] if ranked else None, hear_rules))
    return found


def check_same_training(a: Mapping[str, Any], b: Mapping[str, Any]) -> None:
    """Check that the probes of two results on the same data trained on the same share of it.

    Raises:
        UserError: they did not, so their difference would not only be due to the models.
    """
    shares = [(one["meta"].get("label_fraction", 1.0), one["meta"].get("train_files")) for one in (a, b)]
    # A result of an earlier version does not record the number of files; it used all of them.
    if shares[0][0] != shares[1][0] or (shares[0][1] != shares[1][1] and all(files for _, files in shares)):
        ours, theirs = (f"{100 * share:g} % of the training files" + _number(files) for share, files in shares)
        raise DataError(
            f"{b['path']}: its probe trained on {theirs}, that of {a['path']} on {ours}; evaluate both with the same "
            "--label_fraction"
        )


def _number(files: Optional[Sequence[int]]) -> str:
    """``(88)``, or ``(80 to 82 a round)`` for a k-fold set; empty if the result does not record it."""
    if not files:
        return ""
    low, high = min(files), max(files)
    return f" ({low:,}{'' if low == high else f' to {high:,}'}{' a round' if len(files) > 1 else ''})"


def training_text(meta: Mapping[str, Any]) -> str:
    """Sizes of the splits: ``88 of 1,408 train, 176 valid, 176 test files``; for a k-fold set, the probe's training
    share comes last.
    """
    share, used = meta.get("label_fraction", 1.0), meta.get("train_files")
    sizes = {name: f"{count:,} {name}" for name, count in meta["utterances"].items()}
    if share < 1 and used and "train" in sizes:
        sizes["train"] = f"{used[0]:,} of {sizes['train']}"
    text = ", ".join(sizes.values()) + " files"
    return text if share == 1 or "train" in sizes else f"{text}, probe trained on {100 * share:g} %{_number(used)}"


def compare_results(a: Mapping[str, Any], b: Mapping[str, Any]) -> Dict[str, Comparison]:
    """Metric -> paired comparison of two results (model A minus model B) on the same files.

    Raises:
        UserError: the results have different files or labels, or their probes trained on different shares of the data.
    """
    one, two = load_arrays(a), load_arrays(b)
    same = len(one["utt_ids"]) == len(two["utt_ids"]) and (one["utt_ids"] == two["utt_ids"]).all()
    if not same or a["meta"].get("data_hash") != b["meta"].get("data_hash"):
        raise DataError(
            f"{b['path']}: not measured on the same files and labels as {a['path']}; evaluate both on the same data"
        )
    check_same_training(a, b)
    # PSDS has neither per-file counts nor ranked scores, so it cannot be paired.
    paired = {name for name in RANKED if "probabilities" in one} | {
        key[len("counts:") :] for key in one if key.startswith("counts:")
    }
    shared = [name for name in a["scores"] if name in b["scores"] and name in paired]
    metrics = [task_of(a).metric(name) for name in shared]
    return {metric.name: compare(evidence_of(one, metric), evidence_of(two, metric)) for metric in metrics}


def command_line(program: str, argv: Optional[Sequence[str]]) -> str:
    """The command line as given; ``argv`` None means the process's own arguments."""
    return shlex.join(["ssltoolkit", program, *(sys.argv[1:] if argv is None else argv)])
