"""The evaluate stage: read a task, probe it, write the result."""

from __future__ import annotations

import sys
import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Dict, List, Mapping, Sequence, Tuple

from ssltoolkit.errors import UserError
from ssltoolkit.evaluation import evaluator, results
from ssltoolkit.evaluation.hear_task import HearTask, load_hear_task
from ssltoolkit.evaluation.probe_config import ProbeConfig, for_task, probe_config
from ssltoolkit.evaluation.round_result import RoundResult
from ssltoolkit.evaluation.task import TaskData
from ssltoolkit.evaluation.task_loading import load_task
from ssltoolkit.registry import REGISTRY


@dataclass(frozen=True)
class EvaluateOptions:
    """Options of ``ssltoolkit evaluate``; see its ``--help``.

    Attributes:
        output: result file (.json). embed_dir: embeddings. task: registered name, empty with ``hear_task``.
        data_dir, hear_task: location of the labels, one of the two.
        options: constructor keywords of the task. extra: those of them that are not options of the program, to record
            in the result.
        command: the command line, to record in the result.
    """

    output: str
    embed_dir: str
    task: str = ""
    data_dir: str = ""
    hear_task: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    extra: Mapping[str, Any] = field(default_factory=dict)
    metrics: Sequence[str] = ()
    model: str = ""
    task_name: str = ""
    probe_mode: str = "standard"
    quick: bool = False
    seeds: Sequence[int] = (0, 1, 2)
    label_fraction: Sequence[float] = (1.0,)
    precision: str = ""
    device: str = "cpu"
    command: str = ""

    @property
    def where(self) -> str:
        """Path of the labels."""
        return self.hear_task or self.data_dir

    def check(self) -> None:
        """Raise :class:`UserError` for incompatible options or an unknown task; reads no files."""
        if self.task:
            REGISTRY.component("task", self.task, "--task")
        for name in ("embed_dir", "output") if self.hear_task else ("task", "embed_dir", "data_dir", "output"):
            if not getattr(self, name):
                raise UserError(f"--{name} is required (or --compare A.json B.json)")
        if self.data_dir and self.hear_task:
            raise UserError("--data_dir and --hear_task exclude each other; give one")
        if any(not 0 < fraction <= 1 for fraction in self.label_fraction):
            raise UserError("--label_fraction: every share must lie in (0, 1]")
        if len(set(self.seeds)) != len(self.seeds) or min(self.seeds) < 0:
            raise UserError("--seeds: needs different whole numbers of at least 0")
        if Path(self.output).suffix != ".json":
            raise UserError(f"--output {self.output}: must end in .json")


def evaluate(options: EvaluateOptions) -> Dict[str, Any]:
    """Run ``ssltoolkit evaluate`` and return the result as written.

    Raises:
        UserError: anything missing or inconsistent; names file and line.
    """
    start = time.monotonic()
    data = _load(options)
    config, task_specific = _config(options, data)
    facts = data.task.prepare(data, config)
    fractions = sorted(set(options.label_fraction))
    rounds: List[RoundResult] = []
    curve: Dict[str, Dict[str, Any]] = {}
    for fraction in fractions:
        # The largest share comes last: scores, per-file results and figures are those of the last share.
        rounds = evaluator.evaluate_rounds(data, config, options.seeds, fraction)
        curve[f"{fraction:g}"] = evaluator.scores_of(data, rounds)
    notes = list(dict.fromkeys([*data.notes, *(note for r in rounds for note in r.notes)]))
    for note in notes:
        print(f"note: {_name(options)}: {note}", file=sys.stderr)
    result: Dict[str, Any] = {
        "model": options.model or Path(options.output).resolve().parent.name,
        "task": data.kind,
        **({"task_options": dict(options.extra)} if options.extra else {}),
        "task_name": _name(options),
        "scores": curve[f"{fractions[-1]:g}"],
        "probe": {
            "mode": options.probe_mode,
            "quick": options.quick,
            "task_specific": task_specific,
            "choose_by": config.choose_by,
            "chosen": [r.probes for r in rounds],
        },
        "meta": {
            **_meta(options, data, config, time.monotonic() - start),
            "label_fraction": fractions[-1],
            "train_files": [r.train_files for r in rounds],
            **facts,
            "notes": notes,
        },
    }
    if len(fractions) > 1:
        result["label_efficiency"] = curve
    results.write_result(options.output, result, results.per_file_arrays(data, rounds, options.seeds))
    return result


def _name(options: EvaluateOptions) -> str:
    """Name of the task in tables."""
    return options.task_name or Path(options.output).stem


def _load(options: EvaluateOptions) -> TaskData:
    """The task with its labels and embeddings."""
    chosen = {**options.options, **options.extra}
    if not options.hear_task:
        data = load_task(options.task, options.embed_dir, options.data_dir, options.metrics, chosen)
        data.title = _name(options)
        return data
    kind = HearTask(options.hear_task).kind
    if options.task and options.task != kind:
        raise UserError(f"--task {options.task}: {options.hear_task} is a {kind} task; leave --task out")
    data = load_hear_task(options.hear_task, options.embed_dir, options.metrics, chosen)
    data.title = data.name
    return data


def _config(options: EvaluateOptions, data: TaskData) -> Tuple[ProbeConfig, Dict[str, list]]:
    """Training settings of the probe, and those that the kit or the task's metadata changed."""
    changes: Dict[str, Any] = {"device": options.device}
    if options.precision:
        changes["precision"] = options.precision
    config = probe_config(options.probe_mode, options.quick, **changes)
    config, task_specific = for_task(config, data.title, data.param_grid, options.where)
    return (replace(config, choose_by=data.choose_by) if config.hear_rules else config), task_specific


def _meta(options: EvaluateOptions, data: TaskData, config: ProbeConfig, seconds: float) -> Dict[str, Any]:
    """Metadata that make the measurement reproducible."""
    return {
        "command": options.command,
        "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "seconds": round(seconds, 2),
        "commit": results.git_commit(),
        "versions": results.versions(),
        "seeds": list(options.seeds),
        "embed_dir": options.embed_dir,
        "data_dir": options.where,
        "data_hash": data.data_hash,
        "utterances": {name: len(split.utt_ids) for name, split in data.splits.items()},
        "embeddings": data.meta,
        "num_classes": len(data.vocabulary),
        "probe_config": asdict(config),
    }
