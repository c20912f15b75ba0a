"""Several processes: if one dies, all are stopped; the run continues with as many processes or fewer."""

import os
import signal
import socket

import pytest
import torch
from running import LONG, assert_no_gaps, log_lines, same_state

from ssltoolkit.training.checkpoint import load_checkpoint

STEPS = (
    "training.max_steps=12",
    "training.log_interval=1",
    "training.valid_interval=5",
    "training.checkpoint_interval=3",
)
TORCHRUN = (
    "-m",
    "torch.distributed.run",
    "--standalone",
    "--nproc-per-node",
    "2",
    "--max-restarts",
    "1",
    "-m",
    "ssltoolkit.bin.pretrain",
)


def states(*folders):
    return [load_checkpoint(folder / "last.pt") for folder in folders]


def test_one_killed_process_ends_the_run_and_says_so(start, run_dir):
    hurt = {"HURT_AT": "8", "HURT_RANK": "1", "HURT_SIGNAL": str(int(signal.SIGKILL)), "HURT_MARK": "killed"}
    process = start("exp", *STEPS, "training.max_steps=100000", options=("--ngpu", "2"), env=hurt)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 1 and "process 1 (pid " in output and "was killed by SIGKILL" in output
    assert load_checkpoint(run_dir / "exp/last.pt")["step"] == 6


def test_elastic_restart_continues_from_the_checkpoint(start, run_dir):
    whole = start("whole", *STEPS, options=("--ngpu", "2"))
    assert whole.wait(120) == 0, whole.communicate()[0]
    hurt = {"HURT_AT": "9", "HURT_RANK": "1", "HURT_SIGNAL": str(int(signal.SIGKILL)), "HURT_MARK": "killed"}
    process = start("cut", *STEPS, before=TORCHRUN, env=hurt)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 0 and "continuing from step 6 of 12" in output, output
    assert (run_dir / "killed").exists()
    one, other = states(run_dir / "whole", run_dir / "cut")
    assert same_state(one["model"], other["model"]) and log_lines(run_dir / "whole") == log_lines(run_dir / "cut")


@pytest.mark.skipif(
    not LONG, reason="depends on how quickly a busy machine passes signals on; SSLTOOLKIT_LONG=1 runs it"
)
def test_stopped_by_a_signal_and_continued_by_one_process(start, run_dir):
    alone = start("alone", *STEPS)
    hurt = {"HURT_AT": "7", "HURT_RANK": "0", "HURT_SIGNAL": str(int(signal.SIGSTOP)), "HURT_MARK": "stopped"}
    process = start("cut", *STEPS, options=("--ngpu", "2"), env=hurt)
    while not (run_dir / "stopped").exists():
        assert process.poll() is None, process.communicate()[0]
    os.killpg(process.pid, signal.SIGTERM)
    os.killpg(process.pid, signal.SIGCONT)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 75 and "run the same command again to continue" in output, output
    step = load_checkpoint(run_dir / "cut/last.pt")["step"]
    assert 0 < step < 12
    rest = start("cut", *STEPS)
    assert rest.wait(60) == 0 and alone.wait(60) == 0
    assert_no_gaps(run_dir / "cut", 12, 5)
    one, other = states(run_dir / "alone", run_dir / "cut")
    for key, value in one["model"].items():
        torch.testing.assert_close(other["model"][key], value, rtol=1e-3, atol=1e-3)
    first, second = (torch.tensor([line["loss"] for line in log_lines(run_dir / name)]) for name in ("alone", "cut"))
    torch.testing.assert_close(first, second, rtol=1e-3, atol=0)


@pytest.mark.parametrize(
    "options, part",
    [(("--ngpu", "3"), "2 clips cannot be shared by 3 processes"), (("--num_nodes", "2"), "set MASTER_ADDR")],
)
def test_refused_at_once(start, options, part):
    process = start("exp", "training.batch_size=2", options=options)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 2 and output.count(part) == 1 and "Traceback" not in output, output


SCONTROL = "#!/bin/bash\nprintf 'localhost\\nlocalhost\\n'\n"
SRUN = """#!/bin/bash
echo "$@" >srun.args
while [[ $1 == --* ]]; do shift; done
"$@" & first=$!
"$@" & second=$!
status=0
wait "$first" || status=$?
wait "$second" || status=$?
exit "$status"
"""


def test_machines_of_a_slurm_allocation(start, run_dir):
    """Two launchers, as srun starts them on two machines, connect and train one model."""
    for name, text in (("scontrol", SCONTROL), ("srun", SRUN)):
        (run_dir / name).write_text(text)
        (run_dir / name).chmod(0o755)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    slurm = {
        "PATH": f"{run_dir}:{os.environ['PATH']}",
        "SLURM_JOB_NODELIST": "localhost[1-2]",
        "SLURM_JOB_ID": "7",
        "MASTER_PORT": port,
    }
    process = start("exp", *STEPS, options=("--num_nodes", "2"), env=slurm)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 0 and "2 processes share each batch" in output, output
    assert (
        (run_dir / "srun.args").read_text().startswith("--nodes=2 --ntasks=2 --ntasks-per-node=1 --kill-on-bad-exit=1 ")
    )
    assert_no_gaps(run_dir / "exp", 12, 5)
