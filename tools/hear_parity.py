#!/usr/bin/env python3
"""Compare `--probe_mode hear` with hear-eval-kit 2021.1.3 on the same embeddings.

  hear_parity.py make-env DIR                     make an environment with the kit and a current torch (5 minutes)
  hear_parity.py run --kit DIR/bin/python WORK    run both on four generated tasks; prints the table of
                                                  docs/hear_parity.md

The kit runs in a separate environment, because it pins old versions. `run` starts this file again with the kit's
Python."""

from __future__ import annotations

import argparse
import json
import os
import pickle
import random
import resource
import subprocess
import sys
import time
import venv
from pathlib import Path
from typing import Any, Dict, List, Tuple

#: requirements of the kit besides torch; installed without its own pins, which no longer install
KIT = ("heareval==2021.1.3", "pytorch-lightning==1.9.5", "lightning-utilities")
BESIDE = (
    "numpy<2.3",
    "pandas",
    "scipy",
    "scikit-learn",
    "more_itertools",
    "torchinfo",
    "tqdm",
    "click",
    "sed_eval",
    "dcase_util",
    "torchmetrics",
    "fsspec",
    "packaging",
    "pyyaml",
    "setuptools<81",
)
TASKS = ("multiclass", "multilabel", "event", "k-fold")
METRICS = {
    "multiclass": ["top1_acc"],
    "multilabel": ["mAP", "aucroc", "d_prime", "top1_acc"],
    "event": ["event_onset_200ms_fms", "segment_1s_er"],
    "k-fold": ["top1_acc"],
}
#: a smaller grid than the kit's default, so that five seeds take minutes; both read it from the task's metadata
GRID = {
    "hidden_layers": [1, 2],
    "lr": [1e-3, 3.2e-4],
    "hidden_dim": [256],
    "batch_size": [256],
    "max_epochs": [60],
    "patience": [6],
}
HOP_MS, FRAMES, DIM, CLASSES = 50.0, 160, 48, 8
METRIC_CASES = 200


def make_env(folder: Path, torch: str) -> None:
    """Make the kit's environment."""
    venv.create(folder, with_pip=True)
    pip = [str(folder / "bin/python"), "-m", "pip", "install", "--quiet"]
    subprocess.run([*pip, torch], check=True)
    subprocess.run([*pip, "--no-deps", *KIT], check=True)
    subprocess.run([*pip, *BESIDE], check=True)


# ---- tasks, in HEAR's format and in both programs' embedding formats


def make_task(kind: str, root: Path, files: int, seed: int) -> None:
    """Generate a task: ``task/`` (labels), ``emb/`` (ours) and ``kit/`` (the kit's), with the same float32 rows."""
    import numpy as np

    rng = np.random.default_rng([seed, TASKS.index(kind)])
    centres = rng.normal(size=(CLASSES, DIM)).astype(np.float32)
    splits = [f"fold{n:02d}" for n in range(4)] if kind == "k-fold" else ["train", "valid", "test"]
    labels = [f"c{n}" for n in range(CLASSES)]
    metadata = {
        "task_name": kind,
        "embedding_type": "event" if kind == "event" else "scene",
        "prediction_type": "multiclass" if kind in ("multiclass", "k-fold") else "multilabel",
        "split_mode": "presplit_kfold" if kind == "k-fold" else "trainvaltest",
        "splits": splits,
        "sample_duration": FRAMES * HOP_MS / 1000,
        "evaluation": METRICS[kind],
        "evaluation_params": {
            "task_specific_param_grid": {
                **GRID,
                **({"check_val_every_n_epoch": [10], "batch_size": [1024]} if kind == "event" else {}),
            }
        },
    }
    for folder in ("task", "kit"):
        (root / folder).mkdir(parents=True)
        (root / folder / "task_metadata.json").write_text(json.dumps(metadata))
        (root / folder / "labelvocabulary.csv").write_text(
            "idx,label\n" + "".join(f"{n},{label}\n" for n, label in enumerate(labels))
        )
    generator = random.Random(0)
    for split in splits:
        count = files if split == "train" else max(20, files // 4)
        made = {f"c{rng.integers(CLASSES)}_{split}_{n:04d}.wav": None for n in range(count)}
        entries, rows = {}, {}
        for name in made:
            entries[name], rows[name] = (
                _event_file(rng, centres, labels) if kind == "event" else _scene_file(rng, centres, labels, kind, name)
            )
        for folder in ("task", "kit"):
            (root / folder / f"{split}.json").write_text(json.dumps(entries))
        _write_ours(root / "emb" / split, kind, rows)
        order = list(entries)
        generator.shuffle(order)
        _write_kits(root / "kit", split, kind, order, entries, rows)


def _scene_file(rng: Any, centres: Any, labels: List[str], kind: str, name: str) -> Tuple[list, Any]:
    if kind == "multilabel":
        chosen = [n for n in range(CLASSES) if rng.random() < 0.05 + 0.04 * n]
    else:
        chosen = [int(name[1])]
    row = sum((centres[n] for n in chosen), 0) + 3.0 * rng.normal(size=DIM)
    return [labels[n] for n in chosen], row.astype("float32")[None]


def _event_file(rng: Any, centres: Any, labels: List[str]) -> Tuple[list, Any]:
    import numpy as np

    times, rows, events = HOP_MS * (np.arange(FRAMES) + 0.5), 2.0 * rng.normal(size=(FRAMES, DIM)), []
    for _ in range(rng.integers(2, 6)):
        start, label = float(rng.uniform(0, FRAMES * HOP_MS - 1500)), int(rng.integers(CLASSES))
        end = start + float(rng.uniform(300, 1500))
        rows[(times >= start) & (times < end)] += centres[label]
        events.append({"label": labels[label], "start": start, "end": end})
    return events, rows.astype("float32")


def _write_ours(folder: Path, kind: str, rows: Dict[str, Any]) -> None:
    import numpy as np

    from ssltoolkit.evaluation.store import EmbeddingWriter

    with EmbeddingWriter(
        folder,
        "frame" if kind == "event" else "scene",
        DIM,
        {"model": "generated", "model_hash": "0", "hop_ms": HOP_MS},
    ) as out:
        for name in sorted(rows):
            out.add(
                name[:-4],
                rows[name] if kind == "event" else rows[name][0],
                HOP_MS * (np.arange(FRAMES) + 0.5) if kind == "event" else None,
            )


def _write_kits(
    folder: Path, split: str, kind: str, order: List[str], entries: Dict[str, list], rows: Dict[str, Any]
) -> None:
    """Write the output format of ``heareval.embeddings``: one file of all rows, and pickled labels of each."""
    import numpy as np

    matrix = np.concatenate([rows[name] for name in order])
    matrix.tofile(folder / f"{split}.embeddings.npy")
    (folder / f"{split}.embedding-dimensions.json").write_text(json.dumps(matrix.shape))
    times = [HOP_MS * (n + 0.5) for n in range(FRAMES)]
    if kind == "event":  # a frame is active if onset <= t < offset + 0.0001 ms
        labels = [
            [e["label"] for e in entries[name] if e["start"] <= t < e["end"] + 1e-4] for name in order for t in times
        ]
        labels = [sorted(set(found)) for found in labels]
        (folder / f"{split}.filename-timestamps.json").write_text(
            json.dumps([(name, t) for name in order for t in times])
        )
    else:
        labels = [entries[name] for name in order]
    (folder / f"{split}.target-labels.pkl").write_bytes(pickle.dumps(labels))


# ---- the kit, in its environment


def kit_run(folder: Path, seed: int) -> None:
    """Run the kit's ``task_predictions`` with another seed; its grid is still drawn with its seed 42."""
    import logging

    import heareval.predictions.task_predictions as kit

    class Shuffle:
        shuffle = staticmethod(random.Random(42).shuffle)

    seed_everything = kit.seed_everything
    kit.seed_everything = lambda *_, **__: seed_everything(seed)
    kit.random = Shuffle
    kit.task_predictions(
        embedding_path=folder,
        embedding_size=DIM,
        grid_points=8,
        gpus=None,
        in_memory=True,
        deterministic=True,
        grid="default",
        logger=logging.getLogger("kit"),
    )


def kit_metrics(cases: Path) -> None:
    """Print every metric of the kit on every case, as JSON."""
    import numpy as np
    from heareval.score import available_scores

    found = []
    with np.load(cases) as arrays:
        for n in range(METRIC_CASES):
            scores, targets = arrays[f"scores{n}"], arrays[f"targets{n}"]
            vocabulary = {f"c{c}": c for c in range(scores.shape[1])}
            row = {}
            for name in ("top1_acc", "mAP", "aucroc", "d_prime"):
                try:
                    row[name] = float(available_scores[name](label_to_idx=vocabulary)(scores, targets))
                except Exception as error:  # the kit's checks failed, or the score is not a float
                    row[name] = str(type(error).__name__)
            found.append(row)
    print(json.dumps(found))


# ---- both


def _kit_scores(python: str, root: Path, kind: str, seeds: int) -> Tuple[Dict[str, List[float]], float]:
    scores: Dict[str, List[float]] = {}
    start = time.monotonic()
    for seed in range(seeds):
        done = root / f"kit_seed{seed}.json"
        if not done.is_file():
            with open(root / f"kit_seed{seed}.log", "w") as log:
                environment = {**os.environ, "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": "1", "OMP_NUM_THREADS": "1"}
                subprocess.run(
                    [python, str(Path(__file__).resolve()), "kit-run", str((root / "kit").resolve()), str(42 + seed)],
                    cwd=root,
                    env=environment,
                    stdout=log,
                    stderr=log,
                    check=True,
                )
            (root / "kit/test.predicted-scores.json").rename(done)
        result = json.loads(done.read_text())
        tested = [result[name] for name in result if name.startswith("fold")] if kind == "k-fold" else [result["test"]]
        for name in METRICS[kind]:
            scores.setdefault(name, []).append(sum(one[f"test_{name}"] for one in tested) / len(tested))
    return scores, time.monotonic() - start


def _our_scores(root: Path, seeds: int) -> Tuple[Dict[str, List[float]], float]:
    output, start = root / "ours/result.json", time.monotonic()
    command = [
        sys.executable,
        "-m",
        "ssltoolkit.bin.evaluate",
        "--hear_task",
        root / "task",
        "--embed_dir",
        root / "emb",
        "--output",
        output,
        "--probe_mode",
        "hear",
    ]
    subprocess.run(
        [*map(str, command), "--seeds", ",".join(map(str, range(seeds)))],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=True,
    )
    found = json.loads(output.read_text())["scores"]
    return {name: one["per_seed"] for name, one in found.items()}, time.monotonic() - start


def _spread(values: List[float]) -> str:
    mean = sum(values) / len(values)
    deviation = (sum((v - mean) ** 2 for v in values) / max(1, len(values) - 1)) ** 0.5
    return f"{mean:.3f} +- {deviation:.3f}"


def _child_mebibytes() -> int:
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss >> 10


def metric_cases(path: Path) -> list:
    """Random scores and targets, including classes of all or no files, a single file or class, and equal scores."""
    import numpy as np

    rng, arrays, cases = np.random.default_rng(0), {}, []
    for n in range(METRIC_CASES):
        files, classes = (
            (1 if n % 20 == 0 else int(rng.integers(2, 40))),
            (1 if n % 20 == 1 else int(rng.integers(2, 8))),
        )
        scores, targets = (
            rng.random((files, classes)).astype(np.float32),
            (rng.random((files, classes)) < 0.4).astype(np.int64),
        )
        if n % 4 == 0:
            scores = np.round(scores, 1)
        if n % 5 == 0:
            targets[:, 0] = 1
        if n % 7 == 0:
            targets[:, -1] = 0
        arrays[f"scores{n}"], arrays[f"targets{n}"] = scores, targets
        cases.append((scores, targets))
    np.savez(path, **arrays)
    return cases


def compare_metrics(python: str, work: Path) -> None:
    """Print the agreement of each metric where the kit's value is finite, and how often it is not."""
    from ssltoolkit.evaluation import metrics

    cases = metric_cases(work / "cases.npz")
    done = subprocess.run(
        [python, str(Path(__file__).resolve()), "kit-metrics", str(work / "cases.npz")],
        capture_output=True,
        text=True,
        check=True,
    )
    theirs = json.loads(done.stdout.splitlines()[-1])
    ours = {
        "top1_acc": lambda s, t: metrics.top1_acc(s, t),
        **{
            name: lambda s, t, name=name: metrics.RANKED[name](metrics.Ranking(s, t, hear_rules=True))
            for name in metrics.RANKED
        },
    }
    print(
        f"\n| metric | of {METRIC_CASES} cases finite in the kit | equal (1e-6) | undefined or infinite in the kit "
        "|\n|---|---|---|---|"
    )
    for name, score in ours.items():
        pairs = [(one[name], score(*case)) for one, case in zip(theirs, cases)]
        finite = [(a, b) for a, b in pairs if isinstance(a, float) and abs(a) < float("inf") and a == a]
        print(f"| {name} | {len(finite)} | {sum(abs(a - b) < 1e-6 for a, b in finite)} | {len(pairs) - len(finite)} |")


def run(python: str, work: Path, seeds: int, files: int, kinds: List[str]) -> None:
    """Run both programs on every task; finished results below WORK are kept."""
    work.mkdir(parents=True, exist_ok=True)
    print(
        f"| task | metric | kit, {seeds} seeds | ours, {seeds} seeds | kit, s | ours, s |\n|---|---|---|---|---|---|",
        flush=True,
    )
    for kind in kinds:
        root = work / kind
        if not (root / "made").is_file():
            make_task(kind, root, files // 8 if kind == "event" else files, seed=1)
            (root / "made").touch()
        ours, our_time = _our_scores(root, seeds)
        memory = _child_mebibytes()
        theirs, kit_time = _kit_scores(python, root, kind, seeds)
        for name in METRICS[kind]:
            print(
                f"| {kind} | {name} | {_spread(theirs[name])} | {_spread(ours[name])} | {kit_time:.0f} | "
                f"{our_time:.0f} |",
                flush=True,
            )
        print(f"# {kind}: largest process of ours so far {memory} MiB", file=sys.stderr)
    compare_metrics(python, work)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = options.add_subparsers(dest="command", required=True)
    env = commands.add_parser("make-env")
    env.add_argument("folder", type=Path)
    env.add_argument("--torch", default="torch==2.13.0", help="torch requirement for pip")
    both = commands.add_parser("run")
    both.add_argument("work", type=Path)
    both.add_argument("--kit", required=True, help="the Python of the kit's environment")
    both.add_argument("--seeds", type=int, default=5)
    both.add_argument("--files", type=int, default=1200, help="training files; an eighth of them in the event task")
    both.add_argument("--tasks", default=",".join(TASKS))
    for name in ("kit-run", "kit-metrics"):
        commands.add_parser(name).add_argument("folder", type=Path)
    commands.choices["kit-run"].add_argument("seed", type=int)
    args = options.parse_args()
    if args.command == "make-env":
        make_env(args.folder, args.torch)
    elif args.command == "run":
        run(args.kit, args.work, args.seeds, args.files, args.tasks.split(","))
    elif args.command == "kit-run":
        kit_run(args.folder, args.seed)
    else:
        kit_metrics(args.folder)


if __name__ == "__main__":
    main()
