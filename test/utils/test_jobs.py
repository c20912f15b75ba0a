"""jobs.sh: parallel jobs: printed commands, messages, waiting and reported failures."""

import pytest


@pytest.fixture
def script(run, utils, tmp_path):
    """Run lines of a stage script that sources jobs.sh; returns status, output and errors."""

    def call(lines, **variables):
        given = "".join(f"{name}={value}\n" for name, value in variables.items())
        (tmp_path / "stage.sh").write_text(f"set -euo pipefail\n{given}. '{utils}/jobs.sh'\n{lines}\n")
        done = run("bash", "stage.sh")
        return done.returncode, done.stdout, done.stderr

    return call


def test_a_dry_run_prints_what_a_shell_can_read_again(script, tmp_path):
    lines = 'run touch "a b"; follow logs/one.log touch c; beside logs/two.log touch d; join_all'
    status, said, _ = script(lines, dry_run="true", model_nj=2)
    assert (status, said.splitlines()) == (0, ["touch a\\ b ", "touch c ", "touch d "])
    assert [path.name for path in tmp_path.iterdir()] == ["stage.sh"]


def test_a_followed_log_is_shown_and_begun_anew_unless_kept(script, tmp_path):
    (tmp_path / "a.log").write_text("before\n")
    job = "bash -c 'echo now >>a.log'"
    assert script(f"keep_log=true follow a.log {job}") == (0, "now\n", "")
    assert script(f"follow a.log {job}") == (0, "now\n", "")
    assert (tmp_path / "a.log").read_text() == "now\n"


def test_a_followed_jobs_status_ends_the_script(script):
    assert script("follow a.log bash -c 'exit 3'; echo not reached") == (3, "", "")


def test_the_message_of_a_followed_job_is_printed_once(script, utils):
    job = "bash -c 'echo said $((1 + 1)) >&2; exit 2'"
    status, said, reported = script(f"follow ./a.log '{utils}/run.py' ./a.log {job}")
    assert (status, said.count("said 2\n"), reported) == (2, 1, "run.py: 1 of 1 jobs failed, see a.log\n")


def test_the_message_of_another_job_than_the_followed_one_is_printed(script, utils):
    job = "bash -c 'echo said $(($0 + 5)); exit $(($0 - 1))' JOB"
    status, said, reported = script(f"follow a.1.log '{utils}/run.py' JOB=1:2 a.JOB.log {job}")
    assert status == 1 and "said 6\n" in said and "said 7" not in said
    assert reported == "run.py: 1 of 2 jobs failed, see a.2.log\n  said 7\n"


def test_all_are_waited_for_and_the_failed_one_is_named(script, tmp_path):
    jobs = (
        "for name in one two three; do beside logs/$name.log bash -c 'echo $0; [[ $0 != two ]] || exit 4' $name; done"
    )
    status, said, reported = script(f"{jobs}; join_all || echo status $?; join_all", model_nj=2)
    assert status == 0 and said.splitlines()[-1] == "status 4"
    assert {"one", "two", "three"} <= set(said.split())
    assert reported == "stage.sh: failed with status 4, see logs/two.log\n"


def test_a_stopped_job_is_no_failure(script):
    _, _, reported = script("beside a.log bash -c 'exit 75'; join_all", model_nj=2)
    assert reported == "stage.sh: stopped and saved, see a.log; rerun to continue\n"
