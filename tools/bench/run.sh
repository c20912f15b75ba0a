#!/usr/bin/env bash
# Runs every benchmark and fills RESULTS.md: tools/bench/run.sh [--quick] [--repeats N] [--results FILE]
# --quick measures small sizes, in about five minutes on two cores; without it, it takes most of an hour. A program that fails is
# reported and the others go on; the status is 1 then. BENCH_TIMEOUT limits each program, in seconds (default 3600).
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
case ${1-} in
    -h | --help)
        sed -n '2,4s/^# //p' "${BASH_SOURCE[0]}"
        exit 0
        ;;
esac

# All cores, unlike recipes, whose jobs have one thread each; programs whose figure is for one core see to it themselves.
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-$(getconf _NPROCESSORS_ONLN)}
# shellcheck source=/dev/null
. "$here/../../egs/TEMPLATE/ssl1/path.sh" || exit 2
cd "$here/../.."

curve=200
# One probe after another takes the reference hours at the sizes of a large task; these take it a minute.
probe=(--rows 600 --dim 256 --classes 20 --seeds 1 --epochs 120 --repeats 1)
for argument in "$@"; do
    [[ $argument != --quick ]] || curve=5 probe=()
done
failed=()
# measure PROGRAM OPTION...: one program; what it prints besides rows goes to the screen.
measure() {
    local name=$1 started=$SECONDS
    shift
    echo "== $name $*"
    if ! timeout "${BENCH_TIMEOUT:-3600}" python3 "tools/bench/$name.py" "$@"; then
        failed+=("$name $*")
        echo "run.sh: $name failed" >&2
    fi
    echo "== $name: $((SECONDS - started)) s"
}

measure startup "$@"
measure pairs "$@"
measure render "$@"
measure encoder "$@"
measure encoder --encoder efficientnet_b0 "$@"
measure train_step "$@"
measure default_step "$@"
measure train_step --curve "$curve" "$@"
measure features "$@"
measure embeddings "$@"
measure exported "$@"
measure models --models shipped baseline:logmel "$@"
measure events "$@"
measure probe ${probe[@]+"${probe[@]}"} "$@"
measure probe --large --repeats 1 "$@"
measure memory "$@"
measure gpu "$@"

if [[ ${#failed[@]} -gt 0 ]]; then
    printf 'run.sh: failed: %s\n' "${failed[@]}" >&2
    exit 1
fi
