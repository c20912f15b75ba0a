"""utils/parse_options.sh: values are data, errors are reported."""

import pytest

SCRIPT = """#!/usr/bin/env bash
set -euo pipefail
stage=1
quick=false
train_opts=
name=n value=v line=l
nj=4
help_message="Usage: 100% \\n $0"
. {utils}/parse_options.sh
printf '%s\\0' "$stage" "$quick" "$train_opts" "$name$value$line" "$nj" "$@"
"""


@pytest.fixture
def script(tmp_path, utils, run):
    path = tmp_path / "script.sh"
    path.write_text(SCRIPT.format(utils=utils))

    def call(*arguments):
        return run("bash", path, *arguments)

    return call


def values(done):
    assert done.returncode == 0, done.stderr
    return done.stdout.split("\0")[:-1]


def failure(done):
    assert done.returncode == 2
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    return done.stderr


def test_defaults_without_arguments(script):
    assert values(script()) == ["1", "false", "", "nvl", "4"]


def test_both_forms_dashes_and_what_is_left(script):
    done = script("--stage", "3", "--train-opts=--lr 0.1", "--quick", "true", "a b", "--nj", "9")
    assert values(done) == ["3", "true", "--lr 0.1", "nvl", "4", "a b", "--nj", "9"]


def test_double_dash_ends_options(script):
    assert values(script("--nj", "2", "--", "--stage"))[4:] == ["2", "--stage"]


def test_the_last_value_wins_and_may_be_empty(script):
    assert values(script("--stage", "2", "--stage="))[0] == ""


@pytest.mark.parametrize(
    "value",
    [
        "$(touch pwned)",
        "`touch pwned`",
        "; touch pwned",
        "it's",
        '"q"',
        "a\nb\n",
        "*",
        "\\n$HOME",
        "é",
    ],
)
@pytest.mark.parametrize("glued", [True, False])
def test_values_are_data(script, tmp_path, value, glued):
    arguments = [f"--train_opts={value}"] if glued else ["--train_opts", value]
    assert values(script(*arguments))[2] == value
    assert not (tmp_path / "pwned").exists()


def test_options_named_like_common_words_reach_the_script(script):
    assert values(script("--name", "A", "--value", "B", "--line", "C"))[3] == "ABC"


def test_unknown_option_says_where_the_options_are(script):
    assert "unknown option --stag; --help lists the options" in failure(script("--stag", "1"))


@pytest.mark.parametrize("word", ["--PATH", "--HOME", "--BASH_ENV", "--nj;touch pwned", "--_po_name"])
def test_only_the_scripts_own_variables(script, tmp_path, word):
    assert "unknown option" in failure(script(word, "x"))
    assert not (tmp_path / "pwned").exists()


def test_missing_value(script):
    assert "--stage needs a value" in failure(script("--stage"))
    assert "--stage needs a value, but '--nj' follows" in failure(script("--stage", "--nj", "4"))


@pytest.mark.parametrize("value", ["yes", "", "True", "1"])
def test_booleans_take_true_or_false(script, value):
    assert "takes true or false" in failure(script("--quick", value))


def test_help_prints_the_text_as_it_is(script):
    done = script("--stage", "2", "--help")
    assert done.returncode == 0
    assert done.stdout.startswith("Usage: 100% \\n ")


def test_config_is_read_not_run(script, tmp_path):
    (tmp_path / "a.conf").write_bytes(
        b"# comment\n\n nj = 7 # later\r\ntrain-opts=\"a 'b' $(touch pwned); c\" # x\nquick=true"
    )
    done = script("--nj", "9", "--config", "a.conf")
    assert values(done) == ["1", "true", "a 'b' $(touch pwned); c", "nvl", "9"]
    assert not (tmp_path / "pwned").exists()


@pytest.mark.parametrize(
    "text, reported",
    [
        ("nj=1\nnjj=2\n", "a.conf:2: unknown option 'njj'; --help lists"),
        ("touch pwned\n", "a.conf:1: not of the form name=value"),
        ("quick=maybe\n", "a.conf:1: option 'quick' takes true or false"),
        ('nj="1" 2\n', "a.conf:1: text after the closing quote"),
    ],
)
def test_config_mistakes_name_file_and_line(script, tmp_path, text, reported):
    (tmp_path / "a.conf").write_text(text)
    assert reported in failure(script("--config", "a.conf"))


def test_config_must_exist(script):
    assert "cannot read 'none.conf'" in failure(script("--config", "none.conf"))


def test_only_what_the_script_declared_is_an_option(tmp_path, utils, run):
    """Environment variables, arrays, read-only variables and the help text are not options. Variables that the script
    sets are, exported or not.
    """
    (tmp_path / "s.sh").write_text(
        "set -euo pipefail\nstage=1; lr=2\nlist=(a)\nreadonly fixed=3\nhelp_message=Usage\n. "
        f"{utils}/parse_options.sh\nlate=1\n"
        'printf "%s\\0" "$stage" "$lr"\n'
    )
    for name in ("http_proxy", "help_message", "list", "fixed", "late"):
        assert f"unknown option --{name}" in failure(run("bash", "s.sh", f"--{name}", "x", env={"http_proxy": "proxy"}))
    assert values(run("bash", "s.sh", "--stage", "5", "--lr", "6", env={"stage": "9", "lr": "9"})) == ["5", "6"]
    assert values(run("bash", "s.sh", env={"stage": "9"})) == ["1", "2"]


def test_a_configuration_wins_over_the_defaults_of_a_calling_script(script, tmp_path):
    (tmp_path / "a.conf").write_text("nj=7\nquick=true\n")
    presets = ["--nj", "2", "--quick", "false", "--stage", "3", "--end_of_defaults"]
    assert values(script(*presets, "--config", "a.conf"))[:5] == ["3", "true", "", "nvl", "7"]
    assert values(script(*presets, "--nj", "9", "--config", "a.conf"))[4] == "9"
    assert values(script(*presets))[4] == "2"
    assert "option --quick takes true or false" in failure(script("--quick", "maybe", "--end_of_defaults"))


def test_options_of_another_script_are_passed_on(tmp_path, utils, run):
    (tmp_path / "s.sh").write_text(
        f"set -euo pipefail\nstage=1\npass_on=()\n. {utils}/parse_options.sh\n"
        'printf "%s\\0" "$stage" ${pass_on[@]+"${pass_on[@]}"} -- "$@"\n'
    )
    (tmp_path / "a.conf").write_text("stage=2\ntag='a b'\nnj=3\n")
    assert values(run("bash", "s.sh", "--nj", "$(touch pwned)", "--config", "a.conf", "--a-b=c")) == [
        "2",
        "--tag=a b",
        "--nj=3",
        "--nj=$(touch pwned)",
        "--a_b=c",
        "--",
    ]
    assert values(run("bash", "s.sh", "--help", "rest")) == ["1", "--help", "--", "rest"]
    assert not (tmp_path / "pwned").exists()
