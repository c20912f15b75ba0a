#!/usr/bin/env python3
"""The questions tools/setup.sh asks about the environment it makes; run by that environment's
Python. Standard library only, so that the check before every recipe takes a few milliseconds.

  environment.py check STAMP      status 0 if the environment is finished and up to date
  environment.py begin STAMP      marks it unfinished, removes half-installed packages, and
                                  prints the torch to install and the torchaudio asked for
  environment.py torchaudio TORCH prints the torchaudio that belongs to a torch
  environment.py has NAME VERSION prints the installed version if it will do
  environment.py extra NAME       prints the requirements of an extra of ssltoolkit
  environment.py prove            imports everything and prints the versions
  environment.py finish STAMP     marks it finished

STAMP is a JSON file: a key over what the set-up depends on, and the versions asked for with
TORCH_VERSION and TORCHAUDIO_VERSION, which stay in force until others are given.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import sys
import sysconfig
from pathlib import Path
from typing import Dict, List, Optional

TOOLS = Path(__file__).resolve().parent
ROOT = TOOLS.parent
SOURCES = ("setup.py", "tools/constraints.txt", "tools/setup.sh", "tools/environment.py",
           "tools/fix_torchaudio.py")  # fmt: skip
OVERRIDES = ("TORCH_VERSION", "TORCHAUDIO_VERSION")
MODULES = ("numpy", "scipy", "sklearn", "yaml", "typeguard", "kaldiio", "tensorboardX",
           "numba", "soundfile", "soxr", "tqdm", "matplotlib", "safetensors", "filelock", "torch", "torchaudio",
           "ssltoolkit")  # fmt: skip
VERSION = re.compile(r"(\d+)\.(\d+)\.(\d+)")
NEWEST_TORCHAUDIO = (2, 11, 0)  # torchaudio ends there; it works with later torch


def key() -> str:
    """A hash of the set-up's own files, the Python, and where both lie."""
    digest = hashlib.sha256()
    for name in SOURCES:
        digest.update((ROOT / name).read_bytes())
    digest.update(repr((str(ROOT), sys.prefix, sys.version)).encode())
    return digest.hexdigest()


def read_stamp(path: Path) -> Dict[str, str]:
    try:
        stamp = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return stamp if isinstance(stamp, dict) else {}


def write_stamp(path: Path, stamp: Dict[str, str]) -> None:
    temporary = path.with_name(f"{path.name}.{os.getpid()}")
    temporary.write_text(json.dumps(stamp, indent=1) + "\n", encoding="utf-8")
    temporary.replace(path)


def check(path: Path) -> bool:
    stamp = read_stamp(path)
    same = all(version == stamp.get(name) for name, version in asked_versions(stamp).items())
    return same and stamp.get("key") == key()


def begin(path: Path) -> List[str]:
    """The torch to install, and the torchaudio asked for (empty if none was).

    Raises SystemExit for an unreadable version.
    """
    stamp = read_stamp(path)
    if "key" in stamp and not stamp["key"] and sys.prefix != sys.base_prefix:
        remove_half_installed(Path(sysconfig.get_path("purelib")))
    asked = asked_versions(stamp)
    for name, version in asked.items():
        if version and not VERSION.match(version):
            sys.exit(f"{name} '{version}' is not a version such as 2.13.0")
    write_stamp(path, {**stamp, "key": ""})
    return [asked["TORCH_VERSION"] or default_torch(), asked["TORCHAUDIO_VERSION"]]


def finish(path: Path) -> None:
    # Only now, so that versions that could not be installed are forgotten.
    write_stamp(path, {"key": key(), **asked_versions(read_stamp(path))})


def asked_versions(stamp: Dict[str, str]) -> Dict[str, str]:
    return {name: os.environ.get(name) or stamp.get(name, "") for name in OVERRIDES}


def remove_half_installed(site: Path) -> None:
    """Removes what an interrupted pip left: renamed old packages, records without a file list."""
    for path in site.glob("~*"):
        shutil.rmtree(path, ignore_errors=True)
    for path in site.glob("*.dist-info"):
        if not (path / "RECORD").is_file():
            shutil.rmtree(path, ignore_errors=True)


def default_torch() -> str:
    return "2.13.0" if sys.version_info >= (3, 10) else "2.8.0"


def matching_torchaudio(torch: str) -> str:
    """The torchaudio that belongs to a torch."""
    numbers = tuple(int(part) for part in VERSION.match(torch).groups())
    return ".".join(map(str, min(numbers, NEWEST_TORCHAUDIO)))


def has(name: str, version: str) -> Optional[str]:
    """The installed version of `name` if it is `version` (any build, if that names none)."""
    from importlib.metadata import PackageNotFoundError
    from importlib.metadata import version as installed_version

    try:
        installed = installed_version(name)
    except PackageNotFoundError:
        return None
    public = installed.partition("+")[0]
    return installed if version in ("", installed, public) else None


def extra(name: str) -> List[str]:
    from importlib.metadata import requires

    found = []
    for requirement in requires("ssltoolkit") or []:
        text, _, marker = requirement.partition(";")
        if f"extra=='{name}'" in marker.replace('"', "'").replace(" ", ""):
            found.append(text.strip())
    return found


def prove() -> List[str]:
    """Imports all modules; returns `name version` lines. Raises SystemExit at a failure."""
    import importlib
    from importlib import metadata

    lines = [f"python {sys.version.split()[0]}"]
    for name in MODULES:
        try:
            module = importlib.import_module(name)
        except Exception as error:  # a broken binary raises anything
            sys.exit(f"import {name} fails ({type(error).__name__}: {error})")
        # typeguard has no __version__, but its distribution bears its name
        lines.append(f"{name} {getattr(module, '__version__', None) or metadata.version(name)}")
    torch = sys.modules["torch"]
    build = torch.version.cuda or getattr(torch.version, "hip", None)
    usable = torch.cuda.is_available()
    lines.append(f"torch build: {build or 'CPU-only'}; GPU usable: {'yes' if usable else 'no'}")
    return lines


def main(arguments: List[str]) -> int:
    command, rest = arguments[0], arguments[1:]
    if command == "check":
        return 0 if check(Path(rest[0])) else 1
    if command == "begin":
        print("\n".join(begin(Path(rest[0]))))
    elif command == "finish":
        finish(Path(rest[0]))
    elif command == "torchaudio":
        print(matching_torchaudio(rest[0]))
    elif command == "has":
        installed = has(rest[0], rest[1])
        print(installed or "", end="")
    elif command == "extra":
        print("\n".join(extra(rest[0])))
    elif command == "prove":
        print("\n".join(prove()))
    else:
        sys.exit(f"environment.py: unknown command '{command}'")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
