"""tools/gpu_check.sh on the CPU at its tiny sizes, to test it without a GPU."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "tools" / "gpu_check.sh"


def run(*arguments, cwd):
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [str(SCRIPT), *arguments],
        cwd=cwd,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=600,
    )
    return done.returncode, done.stdout


def test_all_of_it_runs_on_a_cpu(tmp_path):
    status, output = run("--device", "cpu", "--results", str(tmp_path / "table.md"), cwd=tmp_path)
    assert status == 0, output[-3000:]
    assert output.rstrip().splitlines()[-1].startswith("gpu_check.sh: all well in ")
    table = (tmp_path / "table.md").read_text()
    for config in ("paper", "default"):
        assert (
            f"{config}.yaml, fp32, cpu against the CPU" in table
            and f"roofline of a step of batch 4, {config}.yaml" in table
        )
    assert "segments/s" in table and "BEYOND" not in table
    for stage in range(1, 9):
        assert f" stage {stage}: " in output


@pytest.mark.parametrize(
    "arguments, part",
    [
        (["--device", "tpu"], "must be cuda or cpu"),
        (["--frequency"], "unknown argument"),
        (["--device"], "lacks its value|must be"),
    ],
)
def test_wrong_options_are_refused(tmp_path, arguments, part):
    import re

    status, output = run(*arguments, cwd=tmp_path)
    assert status == 2 and re.search(part, output) and not list(tmp_path.iterdir())


def test_it_is_clean():
    if not shutil.which("shellcheck"):
        pytest.skip("needs shellcheck")
    subprocess.run(["shellcheck", "-x", str(SCRIPT)], check=True)
