#!/usr/bin/env bash
# Checks a GPU in under eight minutes: tools/gpu_check.sh [--device cuda|cpu] [--results FILE]
# Runs 200 training steps at batch 1024 with the paper's configuration (clip, frame and pitch on efficientnet_b0) and with the default: segments per
# second, utilisation, peak memory, and whether the first losses in float32 equal the CPU's to 1e-3. Then stages 1 to 8 of a copy of egs/mini,
# which pre-trains on the GPU. --device cpu does the same at tiny sizes in under a minute, to test the script.
# The table goes to --results (default: gpu_check.md in the working directory). Status: 0 all passed, 1 something failed, 2 wrong options.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(dirname "$here")
device=cuda
results=$PWD/gpu_check.md
while [[ $# -gt 0 ]]; do
    case $1 in
        -h | --help) sed -n '2,6s/^# //p' "${BASH_SOURCE[0]}"; exit 0 ;;
        --device) device=${2-}; shift ;;
        --results) results=${2-}; shift ;;
        *) echo "gpu_check.sh: unknown argument '$1'; --help lists what there is" >&2; exit 2 ;;
    esac
    shift || { echo "gpu_check.sh: an option lacks its value" >&2; exit 2; }
done
[[ $device == cuda || $device == cpu ]] || { echo "gpu_check.sh: --device must be cuda or cpu, got '$device'" >&2; exit 2; }
[[ -n $results ]] || { echo "gpu_check.sh: --results names no file" >&2; exit 2; }

export MAIN_ROOT=$root
# shellcheck source=/dev/null
. "$root/egs/TEMPLATE/ssl1/path.sh" || exit 2
if [[ $device == cuda ]] && ! python3 -c 'import sys, torch; sys.exit(not torch.cuda.is_available())'; then
    echo "gpu_check.sh: torch sees no GPU here; --device cpu tries the script without one" >&2
    exit 2
fi

sizes=(--batch 1024 --steps 200 --repeats 1 --clips 4096 --compared 64)
recipe=(--nj "$(getconf _NPROCESSORS_ONLN)" --train_args "--set training.device=cuda" --baselines baseline:logmel --probe_seeds 0)
if [[ $device == cpu ]]; then
    sizes=(--quick --batch 4 --steps 1 --repeats 1 --clips 8 --matrix 64 --compared 2)
    tiny="--set training.device=cpu --set encoder.width=4 --set encoder.embed_dim=32"
    for setting in max_steps=4 valid_interval=2 checkpoint_interval=2 batch_size=8 collapse_rank=0 threads=1 precision=fp32; do
        tiny+=" --set training.$setting"
    done
    recipe=(--nj 1 --local_data_opts "--scale 0.02" --train_configs conf/multi_strategy.yaml --train_args "$tiny" --baselines baseline:logmel --probe_seeds 0)
fi

failed=()
# check TITLE COMMAND...: runs a command, and continues if it fails.
check() {
    local title=$1 started=$SECONDS
    shift
    echo "== $title"
    "$@" || failed+=("$title")
    echo "== $title: $((SECONDS - started)) s"
}

copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
mkdir "$copy/egs"
cp -R "$root/egs/TEMPLATE" "$root/egs/mini" "$copy/egs/"
mini=$copy/egs/mini/ssl1
rm -rf "$mini/data" "$mini/dump" "$mini/exp"
walk() { (cd "$mini" && ./run.sh "${recipe[@]}" "$@"); }

# Use all cores for the CPU's losses; jobs of the recipe have one thread each, and more do not help at tiny sizes.
threads() { if [[ $device == cpu ]]; then "$@"; else OMP_NUM_THREADS=$(getconf _NPROCESSORS_ONLN) "$@"; fi; }
for config in paper default; do
    check "trainer on $config.yaml" \
        threads python3 "$root/tools/bench/gpu.py" --device "$device" --config "$config" --compare "${sizes[@]}" --results "$results"
done
check "mini recipe, stages 1 to 3" walk --stop_stage 3
check "mini recipe, stages 4 to 8" walk --stage 4 --stop_stage 8

if [[ ${#failed[@]} -gt 0 ]]; then
    printf 'gpu_check.sh: failed: %s\n' "${failed[@]}" >&2
    exit 1
fi
echo "gpu_check.sh: all well in $SECONDS s; figures in $results"
