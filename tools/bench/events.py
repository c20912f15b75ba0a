"""Event and segment metrics of sound event detection: ours against sed_eval, with equal results."""

from __future__ import annotations

import warnings
from typing import Dict, List, Tuple

import numpy as np
from common import alternate, parse, parser, write_row

from ssltoolkit.evaluation.event_metrics import EVENT_METRICS, SEGMENT_METRICS, EventTable, sed_scores, sed_statistics

VOCABULARY = [f"class{number:02d}" for number in range(10)]
Events = List[List[Tuple[float, float, str]]]


def random_events(files: int, each: int, seed: int = 0) -> Tuple[Events, Events]:
    """Reference events of ``files`` recordings of two minutes, and a system that detects most of them approximately."""
    rng = np.random.default_rng(seed)
    reference: Events = []
    system: Events = []
    for _ in range(files):
        onset = np.sort(rng.uniform(0.0, 118.0, each))
        offset = onset + rng.uniform(0.1, 2.0, each)
        label = rng.integers(0, len(VOCABULARY), each)
        reference.append([(float(a), float(b), VOCABULARY[c]) for a, b, c in zip(onset, offset, label)])
        found = rng.random(each) < 0.9
        jitter = rng.normal(0.0, 0.1, (2, each))
        heard = np.where(rng.random(each) < 0.9, label, rng.integers(0, len(VOCABULARY), each))
        rows = zip(np.maximum(onset + jitter[0], 0.0)[found], offset[found], jitter[1][found], heard[found])
        system.append([(float(a), float(max(b + shift, a + 0.05)), VOCABULARY[c]) for a, b, shift, c in rows])
    return reference, system


def our_scores(reference: Events, system: Events) -> Dict[str, float]:
    """All metrics from lists of events."""
    tables = [EventTable.from_lists(events, VOCABULARY) for events in (reference, system)]
    return sed_scores(sed_statistics(*tables, len(reference), [*EVENT_METRICS, *SEGMENT_METRICS]))


def sed_eval_scores(sed_eval, dcase_util, reference: Events, system: Events) -> Dict[str, float]:
    """The same from sed_eval, with its optimal matching."""
    settings = {"event_label_list": VOCABULARY, "event_matching_type": "optimal"}
    metrics = {
        name: sed_eval.sound_event.EventBasedMetrics(
            t_collar=collar, percentage_of_length=share or 0.5, evaluate_offset=share is not None, **settings
        )
        for name, (collar, share) in EVENT_METRICS.items()
    }
    segments = sed_eval.sound_event.SegmentBasedMetrics(VOCABULARY, time_resolution=SEGMENT_METRICS["segment_1s_er"])
    for number, pair in enumerate(zip(reference, system)):
        lists = [
            dcase_util.containers.MetaDataContainer(
                [{"filename": f"{number}.wav", "onset": a, "offset": b, "event_label": label} for a, b, label in events]
            )
            for events in pair
        ]
        for metric in (*metrics.values(), segments):
            metric.evaluate(*lists)
    found = {name: metric.results_overall_metrics()["f_measure"]["f_measure"] for name, metric in metrics.items()}
    return {**found, "segment_1s_er": segments.results_overall_metrics()["error_rate"]["error_rate"]}


def main() -> None:
    """Measure both on the same events."""
    args = parse(parser(__doc__, files=(1000, 100), events=(60, 60)))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import dcase_util
            import sed_eval
    except ImportError as error:
        print(
            f"events: left out, sed_eval cannot be imported ({error}); pip install sed_eval dcase_util 'setuptools<82'"
        )
        return
    case = random_events(args.files, args.events)
    found: Dict[str, Dict[str, float]] = {}
    times = alternate(
        lambda: found.update(ours=our_scores(*case)),
        lambda: found.update(reference=sed_eval_scores(sed_eval, dcase_util, *case)),
        args.repeats,
    )
    largest = max(abs(found["ours"][name] - found["reference"][name]) for name in found["reference"])
    figure = f"event metrics of {args.files} files x {args.events} events, against sed_eval with optimal matching"
    write_row(args, figure, times, f"largest difference {largest:.1e}")


if __name__ == "__main__":
    main()
