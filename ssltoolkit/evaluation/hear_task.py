"""Reading of downloaded HEAR task directories into the same structure as Kaldi-style data.

The utterance id of ``<sample_rate>/<split>/a.wav`` is ``a.wav`` or ``a``, depending on the embeddings.
"""

from __future__ import annotations

import csv
import io
import json
import sys
from pathlib import Path
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence, Union

from ssltoolkit.data.datadir import Event, write_table
from ssltoolkit.errors import DataError
from ssltoolkit.evaluation.store import EmbeddingStore
from ssltoolkit.evaluation.task import Sources, Task, TaskData, build_task
from ssltoolkit.evaluation.task_loading import fold_rounds, kit_order, open_stores, task_data
from ssltoolkit.text import read_text

PathLike = Union[str, Path]
#: hear-eval-kit's post-processing parameters: our name, and the kit's default
POSTPROCESSING = {"median_filter_ms": ("median_filter_ms", 150.0), "min_duration": ("min_duration_ms", 60.0)}
SPLIT_MODES = ("trainvaltest", "presplit_kfold", "new_split_kfold")


def _read_json(path: Path) -> Any:
    try:
        return json.loads(read_text(path))
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); download the HEAR task again") from None
    except ValueError as error:
        raise DataError(f"{path}:{getattr(error, 'lineno', 1)}: not JSON; download the HEAR task again") from None


def _short(value: Any) -> str:
    """A JSON value shortened to one line, for messages."""
    text = json.dumps(value)
    return text if len(text) <= 60 else text[:57] + "..."


class HearSplit:
    """Labels of one split, with the interface of a data directory.

    Args:
        path: the ``<split>.json``. names: its file names as utterance ids.
    """

    def __init__(self, path: Path, entries: Mapping[str, List[Any]], names: Mapping[str, str], duration: float) -> None:
        self.path, self._entries, self._files, self._duration = path, entries, names, duration
        self.listed = list(names)
        self.utt_ids = sorted(names, key=lambda utt: utt.encode("utf-8"))

    def where(self, utt: str) -> str:
        """``file:line`` of an utterance's entry."""
        wanted = json.dumps(self._files[utt])
        for number, line in enumerate(self.path.read_text(encoding="utf-8").splitlines(), 1):
            if wanted in line:
                return f"{self.path}:{number}"
        return str(self.path)

    def has(self, name: str) -> bool:
        """Whether the task has the counterpart of this file of a data directory."""
        return {"events.tsv": self._is_event(), "utt2dur": self._duration > 0}.get(name, False)

    def _is_event(self) -> bool:
        return any(isinstance(entry, dict) for found in self._entries.values() for entry in found)

    def labels(self) -> Dict[str, List[str]]:
        """Utterance id -> labels."""
        return {utt: [str(label) for label in self._entries[self._files[utt]]] for utt in self.utt_ids}

    def pitches(self) -> Dict[str, int]:
        """Utterance id -> MIDI number, the only label."""
        pitches = {}
        for utt, labels in self.labels().items():
            if len(labels) != 1 or not labels[0].isdigit():
                raise DataError(f"{self.where(utt)}: {utt!r} needs one MIDI number, got {labels}")
            pitches[utt] = int(labels[0])
        return pitches

    def events(self) -> Dict[str, List[Event]]:
        """Utterance id -> events, in seconds."""
        found: Dict[str, List[Event]] = {}
        for utt in self.utt_ids:
            events = []
            for entry in self._entries[self._files[utt]]:
                try:
                    event = Event(float(entry["start"]) / 1000.0, float(entry["end"]) / 1000.0, str(entry["label"]))
                except (TypeError, KeyError, ValueError):
                    raise DataError(
                        f"{self.where(utt)}: {utt!r} needs events with label, start and end in ms"
                    ) from None
                if not 0 <= event.onset <= event.offset:
                    raise DataError(f"{self.where(utt)}: {utt!r} needs 0 <= start <= end, got {entry}")
                events.append(event)
            found[utt] = sorted(events)
        return found

    def values(self, name: str, check: Callable[[bytes], Optional[str]]) -> Dict[str, str]:
        """Always raises: a HEAR task directory has no such table."""
        raise DataError(f"{self.path}: a HEAR task directory has no {name}; give --data_dir instead of --hear_task")

    def durations(self) -> Dict[str, float]:
        """Utterance id -> duration in seconds (one for the whole task)."""
        return {utt: self._duration for utt in self.utt_ids}


class HearTask:
    """A HEAR task directory.

    Attributes:
        metadata: contents of ``task_metadata.json``. kind: ``clip``, ``sed`` or ``pitch``. splits: names in order.
        multilabel: whether a file may have several labels.
        vocabulary: labels in the order of ``labelvocabulary.csv``.
    """

    def __init__(self, path: PathLike) -> None:
        self.path = Path(path)
        self.metadata: Dict[str, Any] = _read_json(self.path / "task_metadata.json")
        if not isinstance(self.metadata, dict):
            raise DataError(f"{self.path / 'task_metadata.json'}:1: must be an object, got {_short(self.metadata)}")
        mode = self.metadata.get("split_mode")
        if mode not in SPLIT_MODES:
            raise DataError(
                f"{self.path / 'task_metadata.json'}:1: split_mode must be one of {', '.join(SPLIT_MODES)}, "
                f"got {mode!r}"
            )
        self.splits = self._names("splits")
        self.evaluation = self._names("evaluation") if "evaluation" in self.metadata else []
        self.multilabel = self.metadata.get("prediction_type") == "multilabel"
        if self.metadata.get("embedding_type") == "event":
            self.kind = "sed"
        else:
            self.kind = "pitch" if "pitch_acc" in self.evaluation and not self.multilabel else "clip"
        self.vocabulary = self._vocabulary()

    def _names(self, key: str) -> List[str]:
        """A list of the metadata."""
        found = self.metadata.get(key)
        if not isinstance(found, list) or not all(isinstance(name, str) and name for name in found):
            given = _short(found) if key in self.metadata else "nothing"
            raise DataError(f"{self.path / 'task_metadata.json'}:1: {key} must be a list of names, got {given}")
        return found

    def _duration(self) -> float:
        """Length of every file in s; 0 if the metadata do not specify it."""
        found = self.metadata.get("sample_duration") or 0
        if not isinstance(found, (int, float)):
            raise DataError(
                f"{self.path / 'task_metadata.json'}:1: sample_duration must be a number of seconds, got "
                f"{_short(found)}"
            )
        return float(found)

    def _vocabulary(self) -> List[str]:
        path = self.path / "labelvocabulary.csv"
        try:
            rows = list(csv.DictReader(io.StringIO(read_text(path), newline="")))
            return [row["label"] for row in sorted(rows, key=lambda row: int(row["idx"]))]
        except OSError as error:
            raise DataError(f"{path}: cannot be read ({error.strerror}); download the HEAR task again") from None
        except (KeyError, ValueError, TypeError):
            raise DataError(f"{path}:1: needs columns idx and label; download the HEAR task again") from None

    def parameters(self, name: str) -> Optional[Dict[str, Any]]:
        """One of the grids in ``evaluation_params``; None if the task has none."""
        params = self.metadata.get("evaluation_params") or {}
        grid = params.get(name) if isinstance(params, dict) else params
        if grid is not None and not isinstance(grid, dict):
            raise DataError(
                f"{self.path / 'task_metadata.json'}:1: evaluation_params.{name} must be an object, got {grid!r}"
            )
        return grid

    def options(self) -> Dict[str, Any]:
        """Task options from the metadata, as keywords of the task class."""
        if self.kind == "clip":
            return {"label_kind": "multilabel" if self.multilabel else "multiclass"}
        return self.postprocessing() if self.kind == "sed" else {}

    def postprocessing(self) -> Dict[str, List[float]]:
        """The task's post-processing grid under our names; empty if it has none."""
        grid = self.parameters("event_postprocessing_grid")
        if grid is None:
            return {}
        unknown = sorted(set(grid) - set(POSTPROCESSING))
        if unknown:
            raise DataError(
                f"{self.path / 'task_metadata.json'}:1: event_postprocessing_grid: {', '.join(unknown)} not "
                f"supported, only {' and '.join(POSTPROCESSING)}"
            )
        for name, values in grid.items():
            if (
                not isinstance(values, list)
                or not values
                or not all(isinstance(value, (int, float)) for value in values)
            ):
                raise DataError(
                    f"{self.path / 'task_metadata.json'}:1: event_postprocessing_grid.{name} must be a list of "
                    f"numbers, got {_short(values)}"
                )
        return {ours: list(grid.get(kits, [default])) for kits, (ours, default) in POSTPROCESSING.items()}

    def entries(self, split: str) -> Dict[str, List[Any]]:
        """File name -> labels or events of a split."""
        path = self.path / f"{split}.json"
        found = _read_json(path)
        if not isinstance(found, dict):
            raise DataError(f"{path}:1: must be an object of file names, got {_short(found)}")
        for file, entry in found.items():
            if not isinstance(entry, list):
                raise DataError(f"{path}:1: {file!r} must have a list of labels or events, got {_short(entry)}")
        return found

    def source(self, split: str, store: EmbeddingStore) -> HearSplit:
        """Labels of a split by the utterance ids of its embeddings; unknown labels are an error."""
        entries, path = self.entries(split), self.path / f"{split}.json"
        known = set(store.utt_ids)
        names = {file if file in known else Path(file).stem: file for file in entries}
        found = HearSplit(path, entries, names, self._duration())
        for utt in found.utt_ids:
            for entry in entries[names[utt]]:
                label = str(entry.get("label")) if isinstance(entry, dict) else str(entry)
                if label not in self.vocabulary:
                    raise DataError(
                        f"{found.where(utt)}: label {label!r} is not in {self.path / 'labelvocabulary.csv'}"
                    )
        return found

    def write_data_dirs(self, output: PathLike, sample_rate: int) -> List[Path]:
        """Write Kaldi-style data directories of the audio for the embedding program; labels stay in the task's files.

        Returns:
            The directories: one per split, or a single one with ``utt2fold`` for a k-fold task. Utterance ids are file
            names without the suffix.
        """
        audio = {split: self._audio(split, sample_rate) for split in self.splits}
        if self.metadata["split_mode"] == "trainvaltest":
            return [_write_audio(Path(output) / split, files) for split, files in audio.items()]
        folds = {utt: number for number, files in enumerate(audio.values(), 1) for utt in files}
        if len(folds) != sum(map(len, audio.values())):
            raise DataError(f"{self.path}: two folds have a file of the same name; a k-fold task needs unique names")
        where = _write_audio(Path(output), {utt: path for files in audio.values() for utt, path in files.items()})
        write_table(where / "utt2fold", {utt: str(number) for utt, number in folds.items()})
        return [where]

    def _audio(self, split: str, sample_rate: int) -> Dict[str, str]:
        """Utterance id -> audio file of a split; all files must exist."""
        folder = self.path / str(sample_rate) / split
        if not folder.is_dir():
            raise DataError(f"{folder}: no such folder; download the task at {sample_rate} Hz")
        files = {Path(file).stem: folder / file for file in self.entries(split)}
        missing = sorted(str(path) for path in files.values() if not path.is_file())
        if missing:
            raise DataError(
                f"{folder}: {len(files) - len(missing)} of the {len(files)} files of {split}.json exist "
                f"(missing: {', '.join(missing[:3])}); download the HEAR task again"
            )
        return {utt: str(path.resolve()) for utt, path in files.items()}


def _write_audio(where: Path, files: Mapping[str, str]) -> Path:
    where.mkdir(parents=True, exist_ok=True)
    write_table(where / "wav.scp", dict(files))
    write_table(where / "utt2spk", {utt: utt for utt in files})
    return where


def _known_metrics(hear: HearTask, task: Task) -> List[str]:
    """The metrics named in the metadata that this toolkit has; others are skipped with a warning."""
    single = hear.kind == "pitch" or hear.metadata.get("prediction_type") == "multiclass"
    usable = [metric.name for metric in task.metrics]
    named = [name for name in hear.evaluation if name in usable]
    skipped = [name for name in hear.evaluation if name not in usable]
    if skipped:
        left = f"using {', '.join(named)}" if named else "using the default metrics of its kind"
        print(
            f"warning: {hear.path / 'task_metadata.json'}: skipped metric(s) {', '.join(skipped)}, not supported "
            f"for a {_described(hear, single)} task; {left}",
            file=sys.stderr,
        )
    return list(dict.fromkeys(named))


def _described(hear: HearTask, single: bool) -> str:
    return hear.kind if hear.kind != "clip" else f"{'multiclass' if single else 'multilabel'} clip"


def load_hear_task(
    path: PathLike, embed_dir: PathLike, metrics: Sequence[str] = (), options: Optional[Mapping[str, Any]] = None
) -> TaskData:
    """Read a HEAR task and its embeddings (``embed_dir/<split>``).

    Args:
        metrics: replace those of the metadata; the first selects the probe.
        options: constructor keywords of the task; replace the post-processing of the metadata.
    """
    hear, embed_dir = HearTask(path), Path(embed_dir)
    task = build_task(hear.kind, {**hear.options(), **(options or {})})
    stores = open_stores(embed_dir, hear.splits)
    read = {split: hear.source(split, stores[split]) for split in hear.splits}
    sources: Sources = {split: (source, source.utt_ids) for split, source in read.items()}
    if hear.metadata["split_mode"] == "trainvaltest":
        missing = [name for name in ("train", "valid", "test") if name not in hear.splits]
        if missing:
            raise DataError(f"{hear.path / 'task_metadata.json'}:1: splits lack {', '.join(missing)}")
        rounds = [(["train"], ["valid"], ["test"])]
    else:
        rounds = fold_rounds(sorted(hear.splits), hear.path / "task_metadata.json")
    named = list(metrics) or _known_metrics(hear, task)
    name = str(hear.metadata.get("task_name", hear.path.name))
    data = task_data(task, name, hear.path, sources, embed_dir, rounds, named, hear.vocabulary)
    # hear-eval-kit shuffles the files starting from their order in the JSON files.
    places = {split: {utt: i for i, utt in enumerate(source.utt_ids)} for split, source in read.items()}
    data.kit_order = kit_order({split: [places[split][utt] for utt in source.listed] for split, source in read.items()})
    data.param_grid = hear.parameters("task_specific_param_grid") or {}
    data.choose_by = "score" if hear.metadata.get("use_scoring_for_early_stopping", True) else "loss"
    return data
