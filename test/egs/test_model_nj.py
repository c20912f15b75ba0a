"""ssl.sh --model_nj and --train_seeds: models in parallel and with several seeds, in a copy of the recipe mini."""

import os
import signal
import subprocess
import time

import pytest
from fixtures.recipes import ROOT

# Stand-in for the package's programs: records its start and end, and on a signal that it saved its state. There are no
# labels to check.
STAND_IN = """#!/usr/bin/env bash
[[ $1 != check-labels ]] || exit 0
trap 'echo "saved $$" >>"$RECORD"; exit 75' TERM INT
echo "begins $$ threads=$OMP_NUM_THREADS $*" >>"$RECORD"
case "$*" in *"$FAILS"*) echo "ssltoolkit: no such thing" >&2; exit 2 ;; esac
for ((tenth = 0; tenth < TENTHS; tenth++)); do sleep 0.1; done
echo "ends $$" >>"$RECORD"
"""


class Walk:
    """The recipe's run.sh with three models and the stand-in."""

    def __init__(self, folder, tmp_path):
        self.folder, self.record = folder, tmp_path / "record"
        programs = tmp_path / "programs"
        programs.mkdir()
        (programs / "ssltoolkit").write_text(STAND_IN)
        (programs / "ssltoolkit").chmod(0o755)
        command = folder / "cmd.sh"  # read last, so the stand-in precedes the environment's program
        text = command.read_text()
        command.unlink()
        command.write_text(f'PATH="{programs}:$PATH"\n{text}')

    def start(self, *options, tenths=3, fails="nothing"):
        environment = {
            **os.environ,
            "MAIN_ROOT": str(ROOT),
            "RECORD": str(self.record),
            "TENTHS": str(tenths),
            "FAILS": fails,
        }
        configs = "conf/one.yaml conf/two.yaml conf/three.yaml"
        return subprocess.Popen(
            ["./run.sh", "--train_configs", configs, "--baselines", "", *options], cwd=self.folder, env=environment,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
        )  # fmt: skip

    def run(self, *options, **behaviour):
        process = self.start(*options, **behaviour)
        output, _ = process.communicate(timeout=120)
        return process.returncode, output

    def lines(self):
        return [line.split(maxsplit=3) for line in self.record.read_text().splitlines()] if self.record.exists() else []

    def most_at_a_time(self):
        """Return the largest number of pretrain, embed and evaluate processes that ran at the same time."""
        running, most = set(), 0
        for what, process, *rest in self.lines():
            if what == "begins" and rest[1].split()[0] in ("pretrain", "embed", "evaluate"):
                running.add(process)
            elif what != "begins":
                running.discard(process)
            most = max(most, len(running))
        return most

    def wait_for(self, what, count):
        limit = time.monotonic() + 60
        while sum(line[0] == what for line in self.lines()) < count:
            assert time.monotonic() < limit, self.lines()
            time.sleep(0.05)


@pytest.fixture
def walk(recipe, tmp_path):
    return Walk(recipe("mini").folder, tmp_path)


@pytest.mark.parametrize("models", [1, 2])
def test_as_many_models_at_a_time_as_asked_for(walk, models):
    status, output = walk.run("--stage", "5", "--model_nj", str(models))
    assert status == 0, output
    assert walk.most_at_a_time() == models
    begun = [rest[1].split()[0] for what, _, *rest in walk.lines() if what == "begins"]
    assert begun == ["embed"] * 3 + ["evaluate"] * 9 + ["report"]
    assert sum(what == "ends" for what, *_ in walk.lines()) == 13
    assert ("started, see exp/main/embed/two/embed.log" in output) == (models > 1)


def test_models_share_the_processors(walk):
    processors = os.sysconf("SC_NPROCESSORS_ONLN")
    assert walk.run("--stage", "5", "--stop_stage", "5", "--model_nj", "2", tenths=0)[0] == 0
    assert {rest[0] for _, _, *rest in (line for line in walk.lines() if line[0] == "begins")} == {
        f"threads={max(1, processors // 2)}"
    }


def test_a_model_that_fails_does_not_end_those_beside_it(walk):
    status, output = walk.run("--stage", "5", "--model_nj", "3", fails="embed/two")
    assert status == 2, output
    assert "failed with status 2, see exp/main/embed/two/embed.log" in output and "no such thing" in output
    assert sum(what == "ends" for what, *_ in walk.lines()) == 2  # no later stage started
    assert "stage 6" not in output


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_all_and_waits_while_they_save(walk, number):
    process = walk.start("--stage", "5", "--model_nj", "3", tenths=600)
    walk.wait_for("begins", 3)
    if number == signal.SIGINT:
        os.killpg(process.pid, number)  # a terminal sends Ctrl-C to the process group
    else:
        process.send_signal(number)
    output, _ = process.communicate(timeout=60)
    # If the process that bash waits for ends together with the Ctrl-C, bash ignores the signal. The status is then the
    # one of the jobs, which stopped and saved.
    stopped = (130, 75) if number == signal.SIGINT else (143,)
    assert process.returncode in stopped and "stage 6" not in output and "failed" not in output, output
    assert sum(what == "saved" for what, *_ in walk.lines()) == 3


@pytest.mark.parametrize(
    "options, part",
    [
        (["--model_nj", "0"], "--model_nj must be at least 1"),
        (["--model_nj", "two"], "--model_nj must be a whole number, got 'two'"),
        (["--model_nj", "2", "--ngpu", "1"], "--model_nj above 1 with --ngpu needs cmd_backend=slurm"),
        (["--stage", "99"], "--stage must be 1 to 9 and not above --stop_stage, got --stage 99 --stop_stage 9"),
        (["--stage", "5", "--stop_stage", "3"], "not above --stop_stage, got --stage 5 --stop_stage 3"),
    ],
)
def test_what_cannot_be_done_is_refused(walk, options, part):
    status, output = walk.run(*options)
    assert status == 2 and part in output and not walk.lines()


def test_configurations_are_checked_before_audio_is_prepared(walk):
    options = ["--train_args", "--ema yes --set training.max_step=3 --set optimizer.lr=1e-3"]
    status, output = walk.run(*options, tenths=0, fails="max_step=3")
    begun = [rest[1] for what, _, *rest in walk.lines() if what == "begins"]
    assert status == 2 and output.strip() == "ssltoolkit: no such thing"
    files = "conf/one.yaml conf/two.yaml conf/three.yaml"
    assert begun == [f"check-config {files} --set training.max_step=3 --set optimizer.lr=1e-3"]


def test_every_seed_is_a_run_of_its_own_that_can_be_repeated(walk):
    """Statistics, and log-mel's results before stage 9, are written here: the stand-in writes no files."""
    for name in ("dump/fbank/pretrain/stats.npz", "exp/main/seed2/results/logmel/clip.json"):
        (walk.folder / name).parent.mkdir(parents=True)
        (walk.folder / name).write_text("here")
    options = ["--train_configs", "conf/one.yaml", "--train_seeds", "2 10", "--baselines", "baseline:logmel untrained"]
    status, output = walk.run("--stage", "4", *options, tenths=0)
    assert status == 0, output
    begun = [rest[1].split() for what, _, *rest in walk.lines() if what == "begins"]

    def of(program, *names):
        found = [words for words in begun if words[0] == program]
        return [tuple(words[words.index(name) + 1] for name in names) for words in found]

    assert of("pretrain", "--exp_dir", "--set") == [(f"exp/main/seed{n}/one", f"training.seed={n}") for n in (2, 10)]
    embedded = of("embed", "--seed", "--model")
    assert embedded[0] == ("2", "baseline:logmel") and len(embedded) == 5  # log-mel has no random weights
    assert embedded[3:] == [("10", "random:exp/main/seed10/one/best.pt"), ("10", "exp/main/seed10/one/best.pt")]
    assert len(of("evaluate")) == 5 * 3
    assert of("report", "--output", "--models") == [
        ("exp/main/seed2", "logmel,untrained,one"),
        ("exp/main/seed10", "logmel,untrained,one"),
        ("exp/main", "logmel,untrained,one"),
    ]
    assert begun[-1][2:4] == ["exp/main/seed2/results", "exp/main/seed10/results"]
    assert (walk.folder / "exp/main/seed10/results/logmel/clip.json").read_text() == "here"
    again = subprocess.run(
        [walk.folder / "exp/main/seed10/one/run.sh", "--dry_run", "true"], stdout=subprocess.PIPE, text=True, check=True
    )
    assert "training.seed=10" in again.stdout and "seed2" not in again.stdout


@pytest.mark.parametrize("seeds, part", [("0,x", "must be whole numbers, got '0,x'"), ("3 3", "names 3 twice")])
def test_seeds_that_cannot_be_used_are_refused(walk, seeds, part):
    status, output = walk.run("--train_seeds", seeds)
    assert status == 2 and f"--train_seeds {part}" in output and not walk.lines()
