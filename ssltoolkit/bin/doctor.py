"""Check this machine, the installation and data directories; every finding comes with its mend."""

from __future__ import annotations

import argparse
import importlib.metadata
import locale
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Iterator, List, NamedTuple, Optional

from ssltoolkit.bin import _cli

PACKAGES = ("torch", "torchaudio", "numpy", "scipy", "scikit-learn", "numba", "kaldiio", "soundfile", "soxr", "tensorboardX", "matplotlib", "typeguard", "pyyaml", "tqdm")
OK, WARN, BAD = "ok", "warn", "BAD"


class Finding(NamedTuple):
    """One line of the report; ``mend`` is empty when nothing is wrong."""

    state: str
    what: str
    mend: str = ""


def parser() -> argparse.ArgumentParser:
    """Options of this program."""
    options = _cli.Parser(prog="ssltoolkit doctor", description=__doc__)
    options.add_argument("data_dirs", nargs="*", help="data directories to check too")
    options.add_argument("--exp_dir", default=".", help="where experiments will be written (default: here)")
    return options


def packages() -> Iterator[Finding]:
    """Interpreter and installed versions; torch and torchaudio must also import."""
    version = ".".join(map(str, sys.version_info[:3]))
    inside = (3, 9) <= sys.version_info[:2] <= (3, 13)
    yield Finding(OK if inside else WARN, f"Python {version}", "" if inside else "use Python 3.9 to 3.13")
    for name in PACKAGES:
        try:
            yield Finding(OK, f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            yield Finding(BAD, f"{name} is not installed", "run tools/setup.sh")
    try:
        import torch
        import torchaudio  # noqa: F401

        if torch.cuda.is_available():
            yield Finding(OK, f"GPU: {torch.cuda.device_count()} x {torch.cuda.get_device_name(0)}")
        else:
            yield Finding(OK, f"no GPU; CPU with {torch.get_num_threads()} threads")
    except (ImportError, OSError) as error:
        yield Finding(BAD, f"torch or torchaudio does not import: {str(error).splitlines()[0]}", "run tools/setup.sh")


def machine(exp_dir: Path) -> Iterator[Finding]:
    """Disk, permissions, locale and limits."""
    try:
        with tempfile.TemporaryFile(dir=exp_dir):
            yield Finding(OK, f"{exp_dir.resolve()} can be written")
    except OSError as error:
        yield Finding(BAD, f"{exp_dir} cannot be written: {error.strerror}", "choose another --exp_dir or mend its permissions")
    if exp_dir.is_dir():
        free = shutil.disk_usage(exp_dir).free / 2**30
        yield Finding(OK if free > 5 else WARN, f"{free:.1f} GiB free", "" if free > 5 else "free some space; archives and checkpoints need it")
    encoding = locale.getpreferredencoding(False).lower().replace("-", "")
    utf8 = encoding == "utf8" or sys.flags.utf8_mode
    yield Finding(OK if utf8 else WARN, f"text encoding {encoding}", "" if utf8 else "export PYTHONUTF8=1 (path.sh does)")
    try:
        import resource

        files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        yield Finding(OK if files >= 1024 else WARN, f"{files} open files allowed", "" if files >= 1024 else "ulimit -n 4096")
    except ImportError:
        pass  # not a Unix machine
    yield Finding(OK, f"{os.cpu_count()} CPUs")


def data_directory(path: str) -> Finding:
    """Every table of a data directory is read."""
    from ssltoolkit.data.datadir import DataDir
    from ssltoolkit.errors import DataError

    readers = {"segments": "segments", "utt2label": "labels", "utt2pitch": "pitches", "utt2dur": "durations", "utt2fold": "folds", "events.tsv": "events"}
    try:
        data = DataDir(path)
        present = [name for name in readers if data.has(name)]
        for name in present:
            getattr(data, readers[name])()
    except DataError as error:
        return Finding(BAD, str(error), "utils/validate_data_dir.sh lists every fault of a directory")
    return Finding(OK, f"{path}: {len(data.utt_ids)} utterances, {', '.join(present) or 'no labels'}")


def main(argv: Optional[List[str]] = None) -> int:
    """Print every finding; status 2 if something is bad."""
    args = parser().parse_args(argv)
    findings = [*packages(), *machine(Path(args.exp_dir)), *map(data_directory, args.data_dirs)]
    for finding in findings:
        print(f"{finding.state:<5}{finding.what}" + (f"  ->  {finding.mend}" if finding.mend else ""))
    return _cli.EXIT_USAGE if any(finding.state == BAD for finding in findings) else _cli.EXIT_OK


if __name__ == "__main__":
    raise SystemExit(_cli.run(main))
