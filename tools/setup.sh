#!/usr/bin/env bash
# Makes the environment of the toolkit and proves that it works. `setup.sh --help` says how.
# A second run finds the environment finished and does nothing.
set -uo pipefail

help_message="Usage: tools/setup.sh [--system] [--venv DIR] [--force] [--quiet]

Makes the Python environment of the toolkit: torch, torchaudio, the package itself (editable)
and what its tests and evaluations need, at tested versions. Does nothing if that is done.

  --venv DIR   where to make it (default: tools/venv, or SSLTOOLKIT_VENV)
  --system     install into the active environment; a torch that is there is kept
  --force      go through all steps even if the environment is finished
  --quiet      say nothing if the environment is finished

Variables:
  PYTHON              the Python to use, 3.9 to 3.13 (default: the first suitable one found)
  TORCH_VERSION       default 2.13.0, on Python 3.9 2.8.0; 2.13.0+cpu names one build
  TORCHAUDIO_VERSION  default: the one that belongs to torch, 2.11.0 at most

Status: 0 done; 2 failed, with one line that says what to do."

tools=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(dirname "$tools")
log=$tools/setup.log
venv=${SSLTOOLKIT_VENV:-$tools/venv}
system=false
force=false
quiet=false

say() { printf 'setup: %s\n' "$*"; }
fail() {
    printf 'tools/setup.sh: %s\n' "$*" >&2
    exit 2
}

while [[ $# -gt 0 ]]; do
    case $1 in
        --system) system=true ;;
        --force) force=true ;;
        --quiet) quiet=true ;;
        --venv) [[ -n ${2:-} ]] || fail "--venv needs a directory"; venv=$2; shift ;;
        --venv=?*) venv=${1#*=} ;;
        --help | -h) printf '%s\n' "$help_message"; exit 0 ;;
        *) fail "unknown argument '$1'; --help lists what there is" ;;
    esac
    shift
done

# What a Python lacks for us; nothing if it will do. Also fails for names that do not run.
python_fault() {
    "$1" - "$system" <<'END' 2>/dev/null || echo "does not run"
import sys
version = "%d.%d" % sys.version_info[:2]
if not (3, 9) <= sys.version_info[:2] <= (3, 13):
    print("is Python %s" % version)
elif sys.argv[1] == "true":
    try:
        import pip
    except ImportError:
        print("has no pip")
else:
    try:
        import ensurepip, venv
    except ImportError:
        print("(%s) has no venv and ensurepip modules" % version)
END
}

# Sets `python` to a suitable one, or ends with what was tried.
find_python() {
    local candidate fault tried=""
    local candidates=(python3 python3.{13,12,11,10,9} python)
    if [[ -n ${PYTHON:-} ]]; then
        candidates=("$PYTHON")
    elif [[ $system == true ]]; then
        candidates=(python python3)
    else
        candidates+=("${PYENV_ROOT:-$HOME/.pyenv}"/versions/3.{13,12,11,10,9}.*/bin/python3)
    fi
    for candidate in "${candidates[@]}"; do
        if ! command -v "$candidate" >/dev/null; then
            [[ -z ${PYTHON:-} ]] || tried="PYTHON=$PYTHON: no such program"
            continue
        fi
        fault=$(python_fault "$candidate")
        if [[ -z $fault ]]; then
            python=$candidate
            return
        fi
        tried+="${tried:+, }$candidate $fault"
    done
    tried=${tried:-none on PATH}
    [[ $system == false ]] || fail "no active Python 3.9 to 3.13 with pip ($tried);" \
        "activate an environment that has one, or leave out --system"
    fail "no usable Python 3.9 to 3.13 found ($tried); install one with its venv module" \
        "(packages python3 and python3-venv), or name one: PYTHON=/path/to/python3 tools/setup.sh"
}

# Makes the virtual environment unless a working one is there.
make_venv() {
    if [[ -x $venv/bin/python ]] && "$venv/bin/python" -m pip --version >/dev/null 2>&1; then
        [[ -z ${PYTHON:-} ]] || say "keeping the Python of $venv; remove it to use $PYTHON"
    else
        if [[ -e $venv && ! -e $venv/pyvenv.cfg && -n $(ls -A "$venv" 2>/dev/null) ]]; then
            fail "$venv is there and is no virtual environment; name another place with --venv"
        fi
        find_python
        say "making $venv with $("$python" --version 2>&1) ($(command -v "$python"))"
        "$python" -m venv --clear "$venv" >>"$log" 2>&1 ||
            fail "could not make $venv ($(tail -n 1 "$log")); check free space and permissions"
    fi
    python=$venv/bin/python
    stamp=$venv/.ssltoolkit-setup
    [[ -z $(system=true python_fault "$python") ]] ||
        fail "$venv $(system=true python_fault "$python"); remove it and run again"
}

env_tool() { "$python" "$tools/environment.py" "$@"; }

# pip_install ARGS: pip's output goes to the log.
pip_install() {
    printf '\n+ pip install %s\n' "$*" >>"$log"
    local options=()
    [[ $system == true ]] || options=(--no-compile) # compile_installed does it
    "$python" -m pip --disable-pip-version-check --no-input install ${options[@]+"${options[@]}"} "$@" >>"$log" 2>&1
}

pip_reason() {
    local reason
    reason=$(grep -a '^ERROR' "$log" | tail -n 1)
    printf '%s' "${reason:-$(tail -n 1 "$log")}"
}

has_nvidia() { command -v nvidia-smi >/dev/null && nvidia-smi -L 2>/dev/null | grep -q '^GPU'; }

# install_build NAME VERSION VARIABLE [PIP OPTION ...]: installs that version unless it is there.
# With a GPU the build without a local label (CUDA) is preferred, otherwise the CPU-only one.
install_build() {
    local name=$1 version=$2 variable=$3 installed requirement
    local requirements=("$name==$version+cpu" "$name==$version")
    shift 3
    installed=$(env_tool has "$name" "$version")
    if [[ -n $installed ]]; then
        say "$name $installed is there"
        return
    fi
    has_nvidia && requirements=("$name===$version" "$name==$version")
    [[ $version != *+* ]] || requirements=("$name==$version")
    say "installing $name $version (this can take minutes; log: $log)"
    for requirement in "${requirements[@]}"; do
        if pip_install "$@" "$requirement"; then
            say "installed $name $(env_tool has "$name" "")"
            return
        fi
    done
    fail "could not install $name $version ($(pip_reason)); check the network and pip's" \
        "configuration, or choose another with $variable=...; see $log; then run again"
}

install_torch() {
    local versions torch torchaudio
    versions=$(env_tool begin "$stamp" 2>&1) || fail "$versions"
    { read -r torch; read -r torchaudio; } <<<"$versions"
    # The torch of an active environment suits its machine: kept unless one is asked for.
    if [[ $system == true && -z ${TORCH_VERSION:-} && -n $(env_tool has torch "") ]]; then
        torch=$(env_tool has torch "")
    fi
    install_build torch "$torch" TORCH_VERSION
    if [[ -z $torchaudio && $system == true ]]; then
        torchaudio=$(env_tool has torchaudio "")
    fi
    [[ -n $torchaudio ]] || torchaudio=$(env_tool torchaudio "$(env_tool has torch "")")
    # Without dependencies: torchaudio's would replace torch by another build or version.
    install_build torchaudio "$torchaudio" TORCHAUDIO_VERSION --no-deps
}

install_package() {
    local pin=$log.pin requirement optional=()
    # torch is pinned to what is there, so that nothing below can replace it.
    printf 'torch==%s\n' "$(env_tool has torch "")" >"$pin"
    local limits=(--constraint "$tools/constraints.txt" --constraint "$pin")
    say "installing ssltoolkit and its dependencies"
    if ! { pip_install "${limits[@]}" setuptools && pip_install "${limits[@]}" \
        --use-pep517 --no-build-isolation --editable "${root}[test]"; }; then
        fail "could not install ssltoolkit ($(pip_reason)); check the network and pip's" \
            "configuration; see $log; then run again"
    fi
    while IFS= read -r requirement; do optional+=("$requirement"); done \
        < <(for name in eval hub onnx explore; do env_tool extra "$name"; done)
    # All at once is quicker; one after another shows which of them cannot be installed here.
    pip_install "${limits[@]}" ${optional[@]+"${optional[@]}"} || for requirement in ${optional[@]+"${optional[@]}"}; do
        pip_install "${limits[@]}" "$requirement" ||
            say "optional $requirement could not be installed ($(pip_reason)); going on without it"
    done
    rm -f "$pin"
}

# All processors compile sooner than pip, which has one. What cannot be compiled is compiled when it is used.
compile_installed() {
    [[ $system == false ]] || return 0
    "$python" -m compileall -q -j 0 "$("$python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')" >>"$log" 2>&1 || true
}

prove() {
    local versions fixed
    fixed=$("$python" "$tools/fix_torchaudio.py" 2>&1) || fail "$fixed"
    while IFS= read -r line; do say "$line"; done <<<"$fixed"
    versions=$(env_tool prove 2>&1) ||
        fail "$(tail -n 1 <<<"$versions"); remove the environment and run tools/setup.sh again"
    while IFS= read -r line; do say "  $line"; done <<<"$versions"
    if has_nvidia && [[ $versions == *"GPU usable: no"* ]]; then
        say "this machine has a GPU that torch cannot use; name a CUDA build with TORCH_VERSION=..."
    fi
}

if [[ $system == true ]]; then
    find_python
    stamp=$tools/.setup-system
else
    python=$venv/bin/python
    stamp=$venv/.ssltoolkit-setup
fi
if [[ $force == false && -f $stamp ]] && env_tool check "$stamp" 2>/dev/null; then
    [[ $quiet == true ]] || say "the environment of $python is finished and up to date"
    exit 0
fi

# Two recipes started together must not install into one environment.
if command -v flock >/dev/null; then
    exec 9>"$tools/.setup-lock"
    flock -n 9 || { say "waiting for another set-up to end"; flock 9; }
    if [[ $force == false && -f $stamp ]] && env_tool check "$stamp" 2>/dev/null; then
        say "the environment is finished and up to date"
        exit 0
    fi
fi
trap 'printf "\ntools/setup.sh: interrupted; run it again to go on\n" >&2; exit 130' INT TERM
: >"$log" || fail "$log cannot be written; check the permissions of $tools"
[[ $system == true ]] || make_venv
install_torch
install_package
compile_installed
prove
env_tool finish "$stamp"
say "done: $("$python" -c 'import sys; print(sys.prefix)')"
