# shellcheck shell=bash
# Sets up the shell of a recipe: `. ./path.sh`. Makes the environment if it is missing or out
# of date, and puts its Python and utils/ first on PATH. Exported variables are kept.

: "${MAIN_ROOT:=$(cd "$(dirname "${BASH_SOURCE[0]}")/../../.." && pwd)}"
export MAIN_ROOT

for _tool in awk cat dirname mkdir sort; do
    if ! command -v "$_tool" >/dev/null; then
        echo "path.sh: the program '$_tool' is missing; install it with your system's packages" >&2
        return 2
    fi
done
if ((BASH_VERSINFO[0] * 100 + BASH_VERSINFO[1] < 302)); then
    echo "path.sh: bash $BASH_VERSION is too old; install bash 3.2 or later" >&2
    return 2
fi

# `tools/setup.sh --system` uses the active environment; otherwise the environment is a venv.
_venv=${SSLTOOLKIT_VENV:-$MAIN_ROOT/tools/venv}
if [[ -f $MAIN_ROOT/tools/.setup-system && ! -d $_venv ]]; then
    "$MAIN_ROOT/tools/setup.sh" --quiet --system >&2 || return 2
else
    "$MAIN_ROOT/tools/setup.sh" --quiet --venv "$_venv" >&2 || return 2
    export VIRTUAL_ENV=$_venv
    PATH=$_venv/bin:${PATH//"$_venv/bin:"/}
    unset PYTHONHOME
fi
export PATH=$MAIN_ROOT/utils:${PATH//"$MAIN_ROOT/utils:"/}
[[ :${PYTHONPATH:-}: == *:$MAIN_ROOT:* ]] ||
    export PYTHONPATH=$MAIN_ROOT${PYTHONPATH:+:$PYTHONPATH}

# Sorting must not depend on the machine's locale, and file names are always UTF-8.
export LC_ALL=C
export PYTHONUTF8=1
# Parallel jobs have one thread each; a launcher's --num-threads gives a job more.
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
unset _tool _venv
