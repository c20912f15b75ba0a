#!/usr/bin/env python3
"""Coverage of the 95 % intervals of ssltoolkit/evaluation/statistics.py on simulated test sets.

  interval_coverage.py [--sets N] [--seed 0] [--only NAME] [--files N] [--classes N] [--folds N]     prints the table of
  docs/statistics.md

The true score is the expected score on a test set of this size, estimated from 20 times as many separate sets."""

from __future__ import annotations

import argparse
import zlib
from typing import Callable, Dict, List, Sequence, Tuple

import numpy as np

from ssltoolkit.evaluation.event_metrics import SED_METRICS
from ssltoolkit.evaluation.metrics import MEAN_AP, TOP1_ACC
from ssltoolkit.evaluation.statistics import Counted, Evidence, Ranked, compare, confidence_interval, mean_score

ONSET_F = SED_METRICS[0]
Sampler = Callable[[np.random.Generator, int, int], Tuple[Evidence, Evidence]]
FEW, MANY = 5, 50


def accuracy(rng: np.random.Generator, files: int, classes: int) -> Tuple[Evidence, Evidence]:
    """Two models that are right on the same easy files; more classes make the task harder."""
    ease = rng.normal(size=files) + (1.3 if classes == FEW else 0.0)
    models = [(ease + shift + 0.7 * rng.normal(size=files) > 0).astype(int)[None, :, None] for shift in (0.15, 0.0)]
    return Counted(TOP1_ACC, models[0]), Counted(TOP1_ACC, models[1])


def mean_ap(rng: np.random.Generator, files: int, classes: int) -> Tuple[Evidence, Evidence]:
    """Independent classes; with many classes, the rarest has one positive in 50 files."""
    share = np.linspace(0.15, 0.4, classes) if classes == FEW else np.geomspace(0.02, 0.3, classes)
    targets = (rng.random((files, classes)) < share).astype(int)
    shared = rng.normal(size=(files, classes))
    models = [targets * strength + 0.8 * shared + 0.6 * rng.normal(size=(files, classes)) for strength in (1.4, 1.2)]
    return Ranked(MEAN_AP, models[0][None], targets), Ranked(MEAN_AP, models[1][None], targets)


def onset_f(rng: np.random.Generator, files: int, classes: int) -> Tuple[Evidence, Evidence]:
    """Events detected with a probability that differs between files; fewer classes mean more events per file."""
    reference = rng.poisson(4 if classes == FEW else 2, files)
    ease = rng.normal(size=files)
    counts = []
    for shift in (0.1, 0.0):
        found = rng.binomial(reference, 1 / (1 + np.exp(-(0.5 + shift + 0.8 * ease))))
        counts.append(np.stack([found, reference, found + rng.poisson(1.0, files)], axis=1)[None])
    return Counted(ONSET_F, counts[0]), Counted(ONSET_F, counts[1])


SAMPLERS: Dict[str, Sampler] = {"accuracy": accuracy, "mAP": mean_ap, "onset F": onset_f}


def in_folds(one: Evidence, folds: int) -> Sequence[Evidence]:
    """The files of a test set as the folds of a k-fold set."""
    if folds == 1:
        return [one]
    if not isinstance(one, Counted):
        raise SystemExit("interval_coverage.py: --folds needs --only accuracy or 'onset F'")
    return [Counted(one.metric, part) for part in np.array_split(one.counts, folds, axis=1)]


def coverage(
    sampler: Sampler, files: int, classes: int, folds: int, sets: int, resamples: int, seed: List[int]
) -> Tuple[float, float, float, bool]:
    """True score, coverage of a score and of a paired difference, and whether every interval contained its score."""
    rng = np.random.default_rng([*seed, 1])
    drawn = [
        [float(mean_score(in_folds(one, folds)).mean()) for one in sampler(rng, files, classes)]
        for _ in range(20 * sets)
    ]
    truth, other = np.mean(drawn, axis=0)
    rng, single, paired, holds = np.random.default_rng([*seed, 2]), 0, 0, True
    for number in range(sets):
        a, b = (in_folds(one, folds) for one in sampler(rng, files, classes))
        low, high = confidence_interval(a, seed=number, resamples=resamples)
        holds &= low <= float(mean_score(a).mean()) <= high
        single += low <= truth <= high
        found = compare(a, b, seed=number, resamples=resamples).ci95
        paired += found[0] <= truth - other <= found[1]
    return float(truth), single / sets, paired / sets, holds


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument(
        "--sets",
        type=int,
        default=1000,
        help="test sets per row (default 1000); a fifth for mAP of 1,000 files",
    )
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--files", type=int, nargs="+", default=[50, 1000])
    options.add_argument("--classes", type=int, nargs="+", default=[FEW, MANY])
    options.add_argument("--folds", type=int, default=1, help="folds of the test set (default 1: no k-fold set)")
    options.add_argument("--only", default="", help="one of " + ", ".join(SAMPLERS))
    args = options.parse_args()
    print(
        "| score | files | classes | sets | true score | score covered | paired difference covered "
        "|\n|---|---|---|---|---|---|---|",
        flush=True,
    )
    for name, sampler in SAMPLERS.items():
        for files in args.files:
            for classes in args.classes:
                if args.only not in ("", name):
                    continue
                large = name == "mAP" and files == 1000
                sets = args.sets // 5 if large else args.sets
                seed = [args.seed, files, classes, zlib.crc32(name.encode())]
                resamples = 200 if large else 500
                truth, single, paired, holds = coverage(sampler, files, classes, args.folds, sets, resamples, seed)
                print(
                    f"| {name} | {files:,} | {classes} | {sets:,} | {truth:.3f} | {100 * single:.1f} % | "
                    f"{100 * paired:.1f} %{'' if holds else ' (an interval without its score)'} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
