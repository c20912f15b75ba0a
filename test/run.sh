#!/usr/bin/env bash
# The one test command. Makes the environment if it is missing, then runs every test; arguments go to pytest, such as
# `test/run.sh -x -k format` or `test/run.sh test/utils`. Status: pytest's, or 2 if the environment cannot be made.
# SSLTOOLKIT_REAL_AUDIO=FOLDER adds the tests that read real recordings.
set -euo pipefail

MAIN_ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
export MAIN_ROOT
# Tests are many small computations: more threads would only get in each other's way.
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
# Where a recipe's job has two threads all the same, they do not take a processor from others while they wait.
export OMP_WAIT_POLICY=${OMP_WAIT_POLICY:-passive}
cd "$MAIN_ROOT"
. egs/TEMPLATE/ssl1/path.sh || exit 2

targets=(test)
for argument in "$@"; do
    [[ $argument == -* || ! -e ${argument%%::*} ]] || targets=()
done
# One process more than processors, for many tests wait for others; at most four. The tests of a file stay together, with what they share.
workers=$(($(getconf _NPROCESSORS_ONLN) + 1))
exec python3 -m pytest -q --tb=short -n "$((workers < 4 ? workers : 4))" --dist loadfile "$@" ${targets[@]+"${targets[@]}"}
