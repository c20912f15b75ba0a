"""run.py and slurm.py: logs, job arrays, failures, signals."""

import os
import re
import signal
import subprocess
import time

import pytest

FAKE_SBATCH = """#!/usr/bin/env bash
# sbatch --wait: prints its arguments' record and runs the script for each array member
printf '%s\\n' "$@" >sbatch.args
echo 4711
array=0-0
for word; do case $word in --array=*) array=${word#*=} ;; esac; done
array=${array%\\%*}
worst=0
for ((i = ${array%-*}; i <= ${array#*-}; i++)); do
    SLURM_ARRAY_TASK_ID=$i bash "${@: -1}" || worst=$?
done
exit "$worst"
"""


def program(tmp_path, name, text):
    folder = tmp_path / "bin"
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(text)
    path.chmod(0o755)
    return {"PATH": f"{folder}:{os.environ['PATH']}"}


@pytest.fixture(params=["run.py", "slurm.py"])
def launch(request, run, tmp_path):
    environment = program(tmp_path, "sbatch", FAKE_SBATCH)

    def call(*arguments):
        return run.utils(request.param, *arguments, env=environment)

    call.name = request.param
    return call


def test_log_holds_command_start_output_and_end(launch, tmp_path):
    done = launch("log/a.log", "echo", "two  spaces", "$(touch pwned)", "it's; |")
    assert (done.returncode, done.stdout) == (0, "")
    log = (tmp_path / "log/a.log").read_text().splitlines()
    assert log[0].startswith("# echo 'two  spaces'")
    assert log[1].startswith("# Started at ")
    assert log[2] == "#"
    assert log[3] == "two  spaces $(touch pwned) it's; |"
    assert re.fullmatch(r"# Ended \(code 0\) at .*, elapsed time \d+ seconds", log[4])
    assert not (tmp_path / "pwned").exists()


def test_a_log_keeps_what_earlier_attempts_wrote(launch, tmp_path):
    log = tmp_path / "log/a.log"
    for said in ("one", "two", "three"):
        assert launch("--append-log", "true", "log/a.log", f"echo {said}").returncode == 0
    attempts = log.read_text().split("\n\n")
    assert len(attempts) == 3
    for attempt, said in zip(attempts, ("one", "two", "three")):
        lines = attempt.splitlines()
        assert lines[0] == f"# echo {said}" and lines[1].startswith("# Started at ")
        assert lines[3] == said and lines[4].startswith("# Ended (code 0) at ")
    assert launch("log/a.log", "echo four").returncode == 0
    assert log.read_text().count("# Started at ") == 1


def test_of_an_appended_log_only_the_last_attempt_counts(launch, tmp_path):
    assert launch("--append-log", "true", "a.log", "echo old words").returncode == 0
    done = launch("--append-log", "true", "a.log", "echo new words; exit 3")
    assert done.returncode == 3
    assert "  new words\n" in done.stderr and "old words" not in done.stderr
    assert launch("--append-log", "true", "a.log", "exit 4").returncode == 4
    assert launch("--append-log", "true", "a.log", "true").returncode == 0


def test_a_single_argument_is_a_shell_line_with_pipefail(launch, tmp_path):
    assert launch("a.log", "echo $((40 + 2)) | cat >out").returncode == 0
    assert (tmp_path / "out").read_text() == "42\n"
    assert launch("a.log", "false | cat").returncode == 1


def test_job_array_fills_in_the_number_everywhere(launch, tmp_path):
    done = launch("--mem", "4G", "--num-threads", "1", "JOB=2:4", "log/a.JOB.log", "echo", "xJOBy", "JOB")
    assert done.returncode == 0, done.stderr
    for number in (2, 3, 4):
        assert f"x{number}y {number}\n" in (tmp_path / f"log/a.{number}.log").read_text()


def test_failed_jobs_are_named_and_the_others_run(launch, tmp_path):
    done = launch("N=1:3", "a.N.log", "bash", "-c", "echo said $0; exit $(($0 % 2 * N))", "N")
    assert done.returncode == 1
    assert f"{launch.name}: 2 of 3 jobs failed, see a.1.log a.3.log" in done.stderr
    assert "  said 1\n" in done.stderr
    assert "(code 0)" in (tmp_path / "a.2.log").read_text()


def test_the_exit_code_of_the_job_is_kept(launch):
    assert launch("a.log", "exit 2").returncode == 2


@pytest.mark.parametrize(
    "arguments, reported",
    [
        (["a.log"], "give a log file and a command"),
        (["--memm", "4G", "a.log", "true"], "did you mean --mem?"),
        (["--gpu", "x", "a.log", "true"], "--gpu takes a number"),
        (["--max-jobs-run", "0", "a.log", "true"], "--max-jobs-run takes a number"),
        (["--append-log", "yes", "a.log", "true"], "--append-log takes true or false"),
        (["JOB=1:2", "a.log", "true"], "the log must contain JOB"),
        (["JOB=3:2", "a.JOB.log", "true"], "no job"),
        (["JOB=a", "a.JOB.log", "true"], "not of the form JOB=1:N"),
        (["JOB=1:", "a.JOB.log", "true"], "not of the form JOB=1:N"),
    ],
)
def test_bad_usage(launch, arguments, reported):
    done = launch(*arguments)
    assert done.returncode == 2
    assert reported in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_run_passes_threads_and_gpu_shares(run, tmp_path):
    arguments = ["--gpu", "2", "--num-threads", "3", "JOB=1:4", "a.JOB.log"]
    line = "echo gpus $CUDA_VISIBLE_DEVICES threads $OMP_NUM_THREADS"
    done = run.utils("run.py", *arguments, line, env={"CUDA_VISIBLE_DEVICES": "0,1,2,3,4"})
    assert done.returncode == 0, done.stderr
    logs = [(tmp_path / f"a.{n}.log").read_text() for n in range(1, 5)]
    assert all(re.search(r"^gpus (0,1|2,3) threads 3$", log, re.M) for log in logs)


def test_run_keeps_to_max_jobs_run(run, tmp_path):
    line = "mkdir busy && sleep 0.05 && rmdir busy"
    done = run.utils("run.py", "--max-jobs-run", "1", "JOB=1:4", "a.JOB.log", line)
    assert done.returncode == 0, done.stderr


def test_a_program_that_is_missing(run):
    done = run.utils("run.py", "a.log", "no-such-program", "x")
    assert done.returncode == 1
    assert "no-such-program: cannot be run" in done.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_jobs_and_their_children(utils, run, tmp_path, number):
    # Like a training run, the job has a child process and works on after the signal.
    job = "trap 'echo stopping; exit 0' INT TERM; sleep 60 & echo $! >child; touch up; wait"
    process = subprocess.Popen(
        [utils / "run.py", "a.log", job], cwd=tmp_path, env=run.environment,
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    while not (tmp_path / "up").exists():
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(number)
    assert process.wait(timeout=30) == 128 + number
    assert f"run.py: stopped by {number.name}" in process.stderr.read()
    process.stderr.close()
    assert ended(int((tmp_path / "child").read_text()))


def test_a_signal_is_passed_on_once(utils, run, tmp_path):
    """A second Ctrl-C would make a training run end without saving."""
    job = "trap 'echo heard >>signals' INT; touch up; until [ -f enough ]; do sleep 0.05; done; exit 75"
    process = subprocess.Popen(
        [utils / "run.py", "a.log", job], cwd=tmp_path, env=run.environment,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    while not (tmp_path / "up").exists():
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    while not (tmp_path / "signals").exists():
        time.sleep(0.02)
    time.sleep(0.5)
    (tmp_path / "enough").touch()
    assert process.wait(timeout=30) == 75  # the job has saved its state, and run.py passes on its status
    assert (tmp_path / "signals").read_text() == "heard\n"


def ended(pid):
    for _ in range(200):
        try:
            os.kill(pid, 0)
            with open(f"/proc/{pid}/stat") as stat:
                if stat.read().rpartition(")")[2].split()[0] == "Z":
                    return True
        except (ProcessLookupError, FileNotFoundError):
            return True
        time.sleep(0.05)
    return False


def test_slurm_options_and_site_configuration(run, tmp_path):
    environment = program(tmp_path, "sbatch", FAKE_SBATCH)
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf/slurm.conf").write_text(
        "command sbatch --account=lab  # who pays\ndefault time=1:00:00\n"
        "option gpu=0 --partition=cpu\noption gpu=* --partition=gpu --gres=gpu:$0\n"
        "option tmp=* --tmp=$0\n"
    )
    done = run.utils(
        "slurm.py", "--gpu", "2", "--mem", "4G", "--tmp", "9G", "--max-jobs-run", "3", "JOB=1:2",
        "log/a.JOB.log", "true", env=environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    given = (tmp_path / "sbatch.args").read_text().split()
    expected = ["--account=lab", "--wait", "--time=1:00:00", "--partition=gpu", "--gres=gpu:2",
                "--mem=4G", "--tmp=9G", "--array=1-2%3"]  # fmt: skip
    assert [word for word in given if word in expected] == expected


def test_slurm_configuration_mistakes(run, tmp_path):
    (tmp_path / "my.conf").write_text("command sbatch\nopton gpu=0 x\n")
    done = run.utils("slurm.py", "--config", "my.conf", "a.log", "true")
    assert done.returncode == 2
    assert "my.conf:2:" in done.stderr


def test_slurm_job_killed_without_an_end(run, tmp_path):
    environment = program(
        tmp_path,
        "sbatch",
        '#!/usr/bin/env bash\necho 1\nprintf "# x\\n#\\npart\\n" >a.log\nexit 1\n',
    )
    done = run.utils("slurm.py", "a.log", "true", env=environment)
    assert done.returncode == 1
    assert "1 of 1 jobs failed, see a.log" in done.stderr


def test_slurm_job_lost_after_an_earlier_attempt(run, tmp_path):
    (tmp_path / "a.log").write_text("# Ended (code 0) at noon, elapsed time 1 seconds\n")
    fake = '#!/usr/bin/env bash\necho 1\nprintf "\\n# x\\n#\\npart\\n" >>a.log\nexit 1\n'
    environment = program(tmp_path, "sbatch", fake)
    done = run.utils("slurm.py", "--append-log", "true", "a.log", "true", env=environment)
    assert done.returncode == 1 and "1 of 1 jobs failed, see a.log" in done.stderr


def test_slurm_submission_refused(run, tmp_path):
    environment = program(tmp_path, "sbatch", "#!/usr/bin/env bash\necho no such account >&2\nexit 1\n")
    done = run.utils("slurm.py", "a.log", "true", env=environment)
    assert done.returncode == 1
    assert "no such account" in done.stderr
    assert "sbatch did not accept" in done.stderr


@pytest.mark.parametrize("name", ["USR1", "TERM"])
def test_slurm_scripts_pass_signals_on(tmp_path, utils, run, name):
    """The signal that Slurm sends to the batch shell before its time limit reaches the job, whose status is kept."""
    fake = tmp_path / "sbatch"
    fake.write_text("#!/usr/bin/env bash\necho 1\n")  # submits nothing: slurm.py only writes the script
    fake.chmod(0o755)
    job = f"trap 'echo {name} >seen; exit 75' {name}; touch ready; while :; do sleep 0.05; done"
    submit = subprocess.Popen(
        [utils / "slurm.py", "a.log", job],
        cwd=tmp_path,
        env={**run.environment, "PATH": f"{tmp_path}:{run.environment['PATH']}"},
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 30
    while not (tmp_path / "q/a.sh").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    shell = subprocess.Popen(["bash", "q/a.sh"], cwd=tmp_path)
    while not (tmp_path / "ready").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    shell.send_signal(getattr(signal, f"SIG{name}"))
    assert shell.wait(30) == 75 and (tmp_path / "seen").read_text() == f"{name}\n"
    submit.wait(30)


@pytest.mark.parametrize("log", ["exp/lr=1e-3/train.log", "lr=1e-3.log", "a=1/b=2:3/JOB.log"])
@pytest.mark.parametrize("jobs", [[], ["JOB=1:1"]])
def test_a_log_may_have_an_equals_sign_in_its_path(run, tmp_path, log, jobs):
    done = run.utils("run.py", "--gpu", "0", *jobs, log, "echo", "--set", "optimizer.lr=1e-3")
    assert done.returncode == 0, done.stderr
    assert "--set optimizer.lr=1e-3" in (tmp_path / (log.replace("JOB", "1") if jobs else log)).read_text()
