"""egs/TEMPLATE/ssl1: path.sh, cmd.sh and db.sh."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def recipe(tmp_path):
    """A repository with a recipe linked to the template, and a setup.sh that only records its calls."""
    template = tmp_path / "egs/TEMPLATE/ssl1"
    shutil.copytree(ROOT / "egs/TEMPLATE/ssl1", template, symlinks=True)
    folder = tmp_path / "egs/my set/ssl1"
    folder.mkdir(parents=True)
    for name in ("path.sh", "cmd.sh", "db.sh"):
        (folder / name).symlink_to(f"../../TEMPLATE/ssl1/{name}")
    setup = tmp_path / "tools/setup.sh"
    setup.parent.mkdir()
    setup.write_text('#!/bin/sh\necho "$@" >>"$0.calls"\nexit "${SETUP_CODE:-0}"\n')
    setup.chmod(0o755)

    def call(script, **environment):
        drop = ("OMP_NUM_THREADS", "PYTHONPATH", "MAIN_ROOT", "VIRTUAL_ENV")
        clean = {k: v for k, v in os.environ.items() if k not in drop}
        return subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script], cwd=folder, env={**clean, **environment},
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    call.root = tmp_path
    return call


def test_path_sets_up_the_shell(recipe):
    show = 'printf "%s\\n" "$MAIN_ROOT" "$LC_ALL" "$OMP_NUM_THREADS" "$PYTHONPATH" "${PATH%%:/usr*}"'
    done = recipe(f". ./path.sh; . ./path.sh; {show}", PATH="/usr/bin:/bin")
    assert done.returncode == 0, done.stderr
    root = str(recipe.root)
    first = f"{root}/utils:{root}/tools/venv/bin"
    assert done.stdout.splitlines() == [root, "C", "1", root, first]
    calls = (recipe.root / "tools/setup.sh.calls").read_text().splitlines()
    assert calls == [f"--quiet --venv {root}/tools/venv"] * 2


def test_path_keeps_what_is_exported(recipe):
    done = recipe('. ./path.sh; echo "$OMP_NUM_THREADS $PYTHONPATH"', OMP_NUM_THREADS="7", PYTHONPATH="/x")
    assert done.stdout == f"7 {recipe.root}:/x\n"


def test_path_fails_with_the_set_up(recipe):
    done = recipe(". ./path.sh; echo not reached", SETUP_CODE="2")
    assert (done.returncode, done.stdout) == (2, "")


def test_path_uses_the_active_environment_after_system(recipe):
    (recipe.root / "tools/.setup-system").write_text("")
    assert recipe(". ./path.sh").returncode == 0
    assert (recipe.root / "tools/setup.sh.calls").read_text() == "--quiet --system\n"


@pytest.mark.parametrize("backend, launcher", [("local", "run.py"), ("slurm", "slurm.py")])
def test_cmd_chooses_the_launcher(recipe, backend, launcher):
    show = 'for v in train cuda extract eval; do n=${v}_cmd; echo "${!n%% *}"; done'
    done = recipe(f". ./cmd.sh; {show}", cmd_backend=backend)
    assert done.stdout.splitlines() == [launcher] * 4


def test_cmd_keeps_what_is_exported_and_refuses_unknown_backends(recipe):
    assert recipe('. ./cmd.sh; echo "$cuda_cmd"', cuda_cmd="my.py --x").stdout == "my.py --x\n"
    done = recipe(". ./cmd.sh", cmd_backend="pbs")
    assert (done.returncode, "choose local or slurm" in done.stderr) == (2, True)


def test_db_keeps_what_is_exported(recipe):
    done = recipe('. ./db.sh; echo "$FSDD|$ESC50|$HEAR_TASKS"', FSDD="/my data", ESC50="downloads")
    assert done.stdout == "/my data|downloads|\n"
