"""Sound event detection: ``events.tsv``, a probe on frames, and post-processing of its decisions."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable, Dict, List, Mapping, Optional, Sequence

import numpy as np

from ssltoolkit.data.datadir import Event, read_lines
from ssltoolkit.data.event_labels import EventLabels
from ssltoolkit.data.labels import Source
from ssltoolkit.data.tables import EVENTS
from ssltoolkit.errors import DataError, UserError
from ssltoolkit.evaluation import psds, sed
from ssltoolkit.evaluation.eval_split import EvalSplit, where_is
from ssltoolkit.evaluation.event_metrics import EVENT_METRICS, SED_METRICS, EventTable, sed_statistics
from ssltoolkit.evaluation.probe_loss import BinaryCrossEntropy, ProbeLoss
from ssltoolkit.evaluation.round_result import RoundResult
from ssltoolkit.evaluation.store import EmbeddingStore
from ssltoolkit.evaluation.task import Classes, Labels, Round, Sources, Task, TaskData
from ssltoolkit.registry import register
from ssltoolkit.tasks.classes import check_test_labels, names_of

if TYPE_CHECKING:
    from ssltoolkit.evaluation.probe_config import ProbeConfig

#: an event may end this many seconds after its file, because durations are rounded
END_TOLERANCE = 0.01
DEFAULT_METRICS = (
    "event_onset_200ms_fms",
    "segment_1s_er",
    "event_onset_50ms_fms",
    "event_onset_offset_50ms_20perc_fms",
)


@register("task", "sed")
class SoundEvents(Task):
    """Sound event detection, scored by event-based F and segment-based error rate, and optionally by PSDS.

    Args:
        median_filter_ms: filter lengths to try on the validation split; default 250 ms, as in HEAR.
        min_duration_ms: minimum event durations to try on the validation split; default 125 and 250 ms.
        class_thresholds: tune each class's threshold on the validation split instead of using 0.5.
        psds: compute the two PSDS scenarios too.
    """

    labels = EventLabels()
    embedding = "frame"
    metrics = (*SED_METRICS, *psds.PSDS_METRICS)
    position = 1

    def __init__(
        self,
        median_filter_ms: Optional[Sequence[float]] = None,
        min_duration_ms: Optional[Sequence[float]] = None,
        class_thresholds: bool = False,
        psds: bool = False,
    ) -> None:
        self.median_filter_ms, self.min_duration_ms = median_filter_ms, min_duration_ms
        self.class_thresholds, self.psds = class_thresholds, psds

    def allowed_metrics(self, data: TaskData) -> Sequence[str]:
        return [metric.name for metric in SED_METRICS]

    def default_metrics(self, data: TaskData) -> Sequence[str]:
        return DEFAULT_METRICS

    def classes(
        self, name: str, sources: Sources, labels: Labels, rounds: Sequence[Round], given: Sequence[str]
    ) -> Classes:
        notes = check_test_labels(self.labels.file, sources, labels, rounds, bool(given))
        tests = [split for _, _, test in rounds for split in test]
        if not any(found for split in tests for found in labels[split].values()):
            raise DataError(
                f"{sources[tests[0]][0].path}: no file of the test split has an event, so scores would be "
                "meaningless; correct the labels"
            )
        return Classes(list(given) or names_of(labels), True, notes)

    def split(
        self,
        source: Source,
        utts: Sequence[str],
        labels: Mapping[str, List[str]],
        store: EmbeddingStore,
        data: TaskData,
    ) -> EvalSplit:
        index = {label: i for i, label in enumerate(data.vocabulary)}
        events = source.events()
        _check_event_ends(source, utts, events)
        times = [store.timestamps_ms(utt) for utt in utts]
        rows = [np.arange(store.rows(utt).start, store.rows(utt).stop) for utt in utts]
        targets = np.concatenate([sed.frame_labels(t, events[utt], index) for t, utt in zip(times, utts)])
        bounds = np.concatenate([[0], np.cumsum([len(t) for t in times])])
        table = EventTable.from_lists([events[utt] for utt in utts], data.vocabulary)
        return EvalSplit(
            list(utts), [(store.matrix, np.concatenate(rows))], bounds, targets, table, np.concatenate(times)
        )

    def loss(self, data: TaskData) -> ProbeLoss:
        return BinaryCrossEntropy()

    def grid(self, config: ProbeConfig) -> List[sed.Postprocessing]:
        """Post-processing points in the order in which they are tried."""
        given = {"median_filter_ms": self.median_filter_ms, "min_duration_ms": self.min_duration_ms}
        grid = sed.postprocessing_grid(**{name: values for name, values in given.items() if values})
        if config.hear_rules:
            grid.sort(reverse=True)  # ties go to the first point: hear-eval-kit takes the greatest
        return grid

    def prepare(self, data: TaskData, config: ProbeConfig) -> Dict[str, Any]:
        """Count annotated events, and those that every model misses because post-processing removes them."""
        if any(value < 0 for values in (self.median_filter_ms, self.min_duration_ms) for value in values or ()):
            raise UserError("--median_filter_ms and --min_duration_ms must not be negative")
        if self.class_thresholds and data.metrics[0] not in EVENT_METRICS:
            raise UserError("--class_thresholds true: the first of --metrics must be an event-based F")
        if self.psds:
            psds.require()
        grid = self.grid(config)
        if config.choose_by == "loss" and len(grid) > 1:
            raise UserError(
                f"{data.where}: selects the probe by its loss, which cannot select among {len(grid)} post-processings; "
                "give one --median_filter_ms and one --min_duration_ms"
            )
        return _count_events(data, grid)

    def scorer(self, data: TaskData, valid: EvalSplit, config: ProbeConfig) -> Callable[[np.ndarray], np.ndarray]:
        decoder, undefined = sed.Decoder(valid.timeline(), self.grid(config)), config.mode == "hear"

        def score(p: np.ndarray) -> np.ndarray:
            scores = sed.score_models(p, decoder, valid.events, data.metrics[0], nan_without_events=undefined)
            chosen = np.nan_to_num(scores).argmax(axis=1)  # NaN ranks as 0, but stays NaN if selected
            return scores[np.arange(len(scores)), chosen]

        return score

    def test(
        self, data: TaskData, probes: Sequence[Any], valid: EvalSplit, test: EvalSplit, config: ProbeConfig
    ) -> RoundResult:
        metric, classes = data.metrics[0], len(data.vocabulary)
        decoder = sed.Decoder(valid.timeline(), self.grid(config))
        valid_features, test_features = valid.features(), test.features()
        tables, summaries, posteriors = [], [], []
        for probe in probes:
            on_valid = probe.predict(valid_features)
            scores = sed.score_models(on_valid[None], decoder, valid.events, metric)[0]
            point = decoder.grid[int(np.argmax(scores))]
            thresholds = np.full(classes, sed.THRESHOLD)
            if self.class_thresholds:
                thresholds = sed.class_thresholds(on_valid, decoder, point, valid.events, metric)
            on_test = probe.predict(test_features)
            posteriors.append(on_test)
            tables.append(sed.Decoder(test.timeline(), [point]).events(on_test > thresholds, point, classes))
            summaries.append({**probe.summary(), **point._asdict(), "thresholds": thresholds.tolist()})
        found = [sed_statistics(test.events, table, len(test.utt_ids), data.metrics) for table in tables]
        counts = {name: np.stack([one[name] for one in found]) for name in data.metrics}
        result = RoundResult(test, counts, summaries, events=tables, posteriors=posteriors[0])
        if not len(test.events.file):
            result.notes = [
                "a test fold has no event: its F is 0, and its error rate the number of segments with a prediction"
            ]
        if self.psds:
            widths = [one["median_filter_ms"] for one in summaries]
            result.resampled = psds.psds(posteriors, test.timeline(), test.events, data.vocabulary, widths)
        return result

    def arrays(self, rounds: Sequence[RoundResult], seeds: Sequence[int]) -> Dict[str, np.ndarray]:
        """Event columns ``reference_*`` and ``predicted_*`` (``file`` counts all files), ``posteriors`` (T, C) float16
        of the first seed, ``times_ms`` (T,), ``bounds`` (F + 1,)."""
        starts = np.cumsum([0, *(len(result.split.utt_ids) for result in rounds[:-1])])
        moved = [[t._replace(file=t.file + s) for t in result.events] for result, s in zip(rounds, starts)]
        by_seed = [[tables[s] for tables in moved] for s in range(len(seeds))]
        references = [
            result.split.events._replace(file=result.split.events.file + s) for result, s in zip(rounds, starts)
        ]
        lengths = np.concatenate([np.diff(result.split.bounds) for result in rounds])
        return {
            **_columns("predicted", [_joined(tables) for tables in by_seed]),
            **_columns("reference", [_joined(references)]),
            "posteriors": np.concatenate([result.posteriors for result in rounds]).astype(np.float16),
            "times_ms": np.concatenate([result.split.times_ms for result in rounds]),
            "bounds": np.concatenate([[0], np.cumsum(lengths)]),
        }

    def pictures(self, result: Mapping[str, Any], arrays: Dict[str, np.ndarray], folder: Path) -> list:
        """Timelines of the best, the median and the worst file, and the self-similarity of one."""
        from ssltoolkit.report import plots_embeddings, plots_sed

        metric = next((name for name in result["scores"] if name in EVENT_METRICS), None)
        if metric is None:
            return []
        return plots_sed.timelines(result, arrays, folder) + plots_embeddings.self_similarity(
            result, arrays, metric, folder
        )


def _joined(tables: Sequence[EventTable]) -> EventTable:
    return EventTable(*(np.concatenate(columns) for columns in zip(*tables)))


def _columns(prefix: str, tables: Sequence[EventTable]) -> Dict[str, np.ndarray]:
    """Several event tables as columns; ``<prefix>_seed`` is the index of a row's table."""
    columns = {"seed": np.repeat(np.arange(len(tables)), [len(t.file) for t in tables])}
    for name in ("file", "label", "onset", "offset"):
        columns[name] = np.concatenate([getattr(t, name) for t in tables])
    return {f"{prefix}_{name}": values for name, values in columns.items()}


def _count_events(data: TaskData, grid: Sequence[sed.Postprocessing]) -> Dict[str, int]:
    lost = [sed.too_short(split.events, split.timeline(), grid) for split in data.splits.values()]
    total, count = sum(map(len, lost)), int(sum(one.sum() for one in lost))
    if count:
        filters = ", ".join(f"{width:g}" for width in sorted({point.median_filter_ms for point in grid}))
        shortest = min(point.min_duration_ms for point in grid)
        print(
            f"warning: {data.title or data.name}: {count:,} of {total:,} annotated events are too short for the "
            f"post-processing (median filter of {filters} ms, events of at least {shortest:g} ms) and count as "
            "missed; smaller --median_filter_ms and --min_duration_ms keep them",
            file=sys.stderr,
        )
    return {"events": total, "events_too_short": count}


def _check_event_ends(source: Source, utts: Sequence[str], events: Mapping[str, List[Event]]) -> None:
    if not source.has("utt2dur"):
        return
    durations = source.durations()
    for utt in utts:
        for event in events[utt]:
            if event.offset > durations[utt] + END_TOLERANCE:
                raise DataError(
                    f"{_where_event(source, utt, event)}: event {event.label!r} of {utt!r} ends at {event.offset:g} s, "
                    f"after the end of its file at {durations[utt]:g} s; correct the event or the audio"
                )


def _where_event(source: Source, utt: str, event: Event) -> str:
    if hasattr(source, "where"):
        return where_is(source, EVENTS, utt)
    for number, line in read_lines(source.path / EVENTS):
        fields = line.split("\t")
        if number > 1 and fields[0] == utt and (float(fields[1]), float(fields[2]), fields[3]) == tuple(event):
            return f"{source.path / 'events.tsv'}:{number}"
    return str(source.path / EVENTS)
