"""The evaluate stage: read a task, probe it, write the result."""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Dict

import ssltoolkit.evaluation.evaluator as evaluator
from ssltoolkit.errors import UserError
from ssltoolkit.evaluation import hear_task, psds, results, sed
from ssltoolkit.evaluation.probe_config import ProbeConfig, for_task, probe_config
from ssltoolkit.evaluation.tasks import TaskData, load_task


def evaluate(args: argparse.Namespace) -> Dict[str, Any]:
    """Run ``ssltoolkit evaluate`` with parsed options and return what was written."""
    start = time.monotonic()
    metrics = [name for name in args.metrics.split(",") if name]
    if args.hear_task:
        task = hear_task.load_hear_task(args.hear_task, args.embed_dir, metrics)
        if args.task and args.task != task.kind:
            raise UserError(f"--task {args.task}: {args.hear_task} is a {task.kind} task; leave --task out")
    else:
        task = load_task(args.task, args.embed_dir, args.data_dir, metrics, args.label_kind)
    name = args.task_name or Path(args.output).stem
    asked, where = task.name if args.hear_task else name, str(args.hear_task or args.data_dir)
    config, task_specific = for_task(_config(args), asked, task.param_grid, where)
    if config.kit_rules:
        config = replace(config, choose_by=task.choose_by)
    options = _sed_options(args, task, config)
    events = _count_events(task, options, asked)
    fractions = sorted(set(args.label_fraction))
    rounds, curve = [], {}
    for fraction in fractions:
        # The largest share comes last; the scores, per-file results and pictures are of that one.
        rounds = evaluator.evaluate_rounds(task, config, args.seeds, options, fraction)
        curve[f"{fraction:g}"] = evaluator.scores_of(task, rounds)
    notes = list(dict.fromkeys([*task.notes, *(note for r in rounds for note in r.notes)]))
    for note in notes:
        print(f"note: {name}: {note}", file=sys.stderr)
    result: Dict[str, Any] = {
        "model": args.model or Path(args.output).resolve().parent.name,
        "task": task.kind,
        "task_name": name,
        "scores": curve[f"{fractions[-1]:g}"],
        "probe": {
            "mode": args.probe_mode,
            "quick": args.quick,
            "task_specific": task_specific,
            "choose_by": config.choose_by,
            "chosen": [r.probes for r in rounds],
        },
        "meta": {
            **_meta(args, task, config, time.monotonic() - start),
            "label_fraction": fractions[-1],
            "train_files": [r.train_files for r in rounds],
            **events,
            "notes": notes,
        },
    }
    if len(fractions) > 1:
        result["label_efficiency"] = curve
    results.write_result(args.output, result, results.per_file_arrays(task, rounds, args.seeds))
    return result


def _config(args: argparse.Namespace) -> ProbeConfig:
    changes: Dict[str, Any] = {"device": args.device}
    if args.precision:
        changes["precision"] = args.precision
    return probe_config(args.probe_mode, args.quick, **changes)


def _sed_options(args: argparse.Namespace, task: TaskData, config: ProbeConfig) -> evaluator.SedOptions:
    given: Dict[str, Any] = dict(task.postprocessing)
    for name in ("median_filter_ms", "min_duration_ms"):
        if getattr(args, name):
            given[name] = getattr(args, name)
    if any(value < 0 for values in given.values() for value in values):
        raise UserError("--median_filter_ms and --min_duration_ms must not be negative")
    if args.class_thresholds and task.metrics[0] not in evaluator.event_metrics.EVENT_METRICS:
        raise UserError("--class_thresholds true: the first of --metrics must be an event-based F")
    if args.psds:
        if task.kind != "sed":
            raise UserError(f"--psds true: {task.name!r} is a {task.kind} task; PSDS is of sound event detection")
        psds.require()
    grid = sed.postprocessing_grid(**given)
    if config.kit_rules:
        grid.sort(reverse=True)  # the first of equals is chosen: hear-eval-kit's choice is the greatest
    if config.choose_by == "loss" and task.kind == "sed" and len(grid) > 1:
        raise UserError(
            f"{args.hear_task}: chooses the probe by the loss, which cannot choose among {len(grid)} post-processings; "
            "give one --median_filter_ms and one --min_duration_ms"
        )
    return evaluator.SedOptions(tuple(grid), args.class_thresholds, args.psds)


def _count_events(task: TaskData, options: evaluator.SedOptions, name: str) -> Dict[str, int]:
    """How many events are annotated, and how many of them are missed by every model, because post-processing removes them."""
    if task.kind != "sed":
        return {}
    lost = [sed.too_short(p.events, sed.Timeline(p.times_ms, p.bounds), options.grid) for p in task.pieces.values()]
    total, count = sum(map(len, lost)), int(sum(one.sum() for one in lost))
    if count:
        filters = ", ".join(f"{width:g}" for width in sorted({point.median_filter_ms for point in options.grid}))
        shortest = min(point.min_duration_ms for point in options.grid)
        print(
            f"warning: {name}: {count:,} of {total:,} annotated events are too short for the post-processing (median filter of {filters} ms, "
            f"events of at least {shortest:g} ms) and count as missed; smaller --median_filter_ms and --min_duration_ms keep them",
            file=sys.stderr,
        )
    return {"events": total, "events_too_short": count}


def _meta(args: argparse.Namespace, task: TaskData, config: ProbeConfig, seconds: float) -> Dict[str, Any]:
    """Everything needed to repeat the measurement."""
    sizes = {name: len(piece.utt_ids) for name, piece in task.pieces.items()}
    return {
        "command": args.command,
        "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "seconds": round(seconds, 2),
        "commit": results.git_commit(),
        "versions": results.versions(),
        "seeds": args.seeds,
        "embed_dir": str(args.embed_dir),
        "data_dir": str(args.hear_task or args.data_dir),
        "data_hash": task.data_hash,
        "utterances": sizes,
        "embeddings": task.meta,
        "num_classes": len(task.vocabulary),
        "probe_config": asdict(config),
    }
