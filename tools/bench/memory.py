"""Memory of a training run over its steps, and of opening the index of a large corpus.

Training runs the toolkit's trainer with the default configuration; its resident memory should not grow after a tenth of
the steps. The index is opened in a separate process; the reference stores the same tables as dictionaries.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Dict, List

from common import ROOT, Values, parse, parser, write_row
from material import write_archive

DEFAULT = ROOT / "egs" / "TEMPLATE" / "ssl1" / "conf" / "default.yaml"

_MEASURE = """
import json, psutil, time
{setup}
before, started = psutil.Process().memory_info().rss, time.perf_counter()
index = {opened}
took, after = time.perf_counter() - started, psutil.Process().memory_info().rss
print(json.dumps([took, (after - before) / 2**20]))
"""
_DICTIONARIES = """
def read(path):
    table = {}
    with open(path, encoding="utf-8") as lines:
        for line in lines:
            utt, value = line.rstrip().split(None, 1)
            table[utt] = value
    return table

def tables(path):
    places = {utt: (place.rpartition(":")[0], int(place.rpartition(":")[2])) for utt, place in read(path + "/wav.scp").items()}
    return places, {utt: int(length) for utt, length in read(path + "/utt2num_samples").items()}
"""


def resident_mb() -> float:
    """Resident memory of this process, MB."""
    import psutil

    return psutil.Process().memory_info().rss / 2**20


def watched(run, interval: float) -> List[float]:
    """Resident memory of this process, every ``interval`` seconds while ``run`` runs."""
    found, done = [], threading.Event()

    def watch() -> None:
        while not done.wait(interval):
            found.append(resident_mb())

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        run()
    finally:
        done.set()
        thread.join()
    return found


def training(args: argparse.Namespace, folder: Path) -> None:
    """Resident memory from a tenth of the steps to the end."""
    from ssltoolkit.config import load_config
    from ssltoolkit.stages.pretrain import pretrain

    settings = (
        f"max_steps={args.steps}",
        f"batch_size={args.batch}",
        "log_interval=10",
        f"checkpoint_interval={args.steps}",
        "device=cpu",
    )
    config = load_config(DEFAULT, [f"training.{setting}" for setting in settings])
    corpus = write_archive(folder / "corpus", args.clips, 2.0)
    (folder / "exp").mkdir()
    found = watched(lambda: pretrain(config, folder / "exp", corpus), 0.2 if args.quick else 1.0)
    # Exclude the end, which also writes a checkpoint.
    begin, late = found[len(found) // 10 : len(found) // 5 + 1], found[-len(found) // 5 : -1]
    growth = sorted(late)[len(late) // 2] / sorted(begin)[len(begin) // 2] - 1.0
    figure = f"resident memory of training, {args.steps} steps of batch {args.batch}, late against early"
    write_row(args, figure, {"ours": late, "reference": begin}, f"grows by {growth:+.2%}", unit="MB")


def index(args: argparse.Namespace, folder: Path) -> None:
    """Time and memory of opening an index, alternating between ours and dictionaries."""
    folder.mkdir()
    with (
        open(folder / "wav.scp", "w", encoding="utf-8") as places,
        open(folder / "utt2num_samples", "w", encoding="utf-8") as lengths,
    ):
        for number in range(args.utts):
            utt = f"corpus_a_recording_{number:09d}"
            places.write(f"{utt} /data/dump/raw/train/wav.{number // 500:05d}.ark:{number % 500 * 320000}\n")
            lengths.write(f"{utt} 160000\n")
    times: Values = {"ours": [], "reference": []}
    sizes: Values = {"ours": [], "reference": []}
    programs: Dict[str, Dict[str, str]] = {
        "ours": {"setup": "from ssltoolkit.data.archive import WaveArchive", "opened": f"WaveArchive({str(folder)!r})"},
        "reference": {"setup": _DICTIONARIES, "opened": f"tables({str(folder)!r})"},
    }
    for _ in range(args.repeats):
        for name, parts in programs.items():
            took, grown = _measured(_MEASURE.format(**parts))
            times[name].append(took)
            sizes[name].append(grown)
    write_row(args, f"opening an index of {args.utts:,} utterances", times)
    write_row(args, f"memory of an index of {args.utts:,} utterances", sizes, unit="MB")


def _measured(program: str) -> List[float]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, stdout=subprocess.PIPE, text=True, check=True
    )
    return json.loads(done.stdout)


def main() -> None:
    """Run both, or the requested one."""
    options = parser(__doc__, steps=(2000, 200), batch=(32, 8), clips=(256, 64), utts=(2_000_000, 200_000))
    options.add_argument("--only", choices=["training", "index"], help="run only this one")
    args = parse(options)
    with tempfile.TemporaryDirectory() as temporary:
        if args.only != "index":
            training(args, Path(temporary))
        if args.only != "training":
            index(args, Path(temporary) / "index")


if __name__ == "__main__":
    main()
