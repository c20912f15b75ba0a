#!/usr/bin/env bash
# Frozen scores against hours of audio and steps of pre-training: one run per pair, then the figures. Finished runs are kept.
#   OPEN_SOUNDS=DIR SONIC_PI=DIR ... ./curves.sh [--points "HOURS:STEPS ..."] [--configs "FILE ..."] [any option of ssl.sh]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

fail() { echo "curves.sh: $*" >&2; exit 2; }
points="all:2000 all:1000 all:300 0.5:1000 2:1000" # hours of the pool (or all of it), and steps
configs="conf/general_clip.yaml conf/general.yaml"  # only clip sampling, and all strategies
dry_run=false
options=()
while [[ $# -gt 0 ]]; do
    case $1 in
        --help | -h) sed -n '2,3s/^# *//p' "$0"; exec ./ssl.sh --help ;;
        --*) [[ $# -ge 2 ]] || fail "$1 needs a value" ;;
        *) fail "unexpected argument '$1' (options are --name value; see --help)" ;;
    esac
    case $1 in
        --points) points=$2 ;;
        --configs) configs=$2 ;;
        --dry_run) dry_run=$2 ;;
        --tag | --stage | --stop_stage | --train_set | --baselines | --train_args) fail "$1 is set for each point; run ssl.sh for one of them" ;;
        *) options+=("$1" "$2") ;;
    esac
    shift 2
done
read -ra pairs <<<"$points"
[[ ${#pairs[@]} -gt 0 ]] || fail "--points is empty"
for pair in ${pairs[@]+"${pairs[@]}"}; do
    [[ $pair =~ ^(all|[0-9]+(\.[0-9]+)?):[1-9][0-9]*$ ]] || fail "--points: '$pair' is not HOURS:STEPS or all:STEPS"
done
[[ $dry_run =~ ^(true|false)$ ]] || fail "--dry_run must be true or false, got '$dry_run'"
shared=(
    --clip_tasks "test_words test_digits test_folders test_kinds"
    --sed_tasks "test_soundscapes test_events"
    --pitch_tasks "test_notes test_notes_piano test_instruments"
    --median_filter_ms "40,120,250" --min_duration_ms 0
    --local_data_opts "--pool sonic_pi,librosa_examples,open_sounds --shareable true --speech 2000 --music 400 --words 1000 --patches 500"
    --quick_probe true
    --train_configs "$configs" --dry_run "$dry_run"
    ${options[@]+"${options[@]}"}
)
run() {
    if "$dry_run"; then printf '%q ' "$@"; echo; else "$@"; fi
}

# Data are prepared once; to change --local_data_opts, remove dump/ first.
[[ -f dump/raw/.curves ]] || ./ssl.sh "${shared[@]}" --stage 1 --stop_stage 2
"$dry_run" || touch dump/raw/.curves
baselines="baseline:logmel untrained" # only in the first run: they do not depend on hours and steps
for pair in ${pairs[@]+"${pairs[@]}"}; do
    hours=${pair%:*} steps=${pair#*:} set=pretrain
    if [[ $hours != all ]]; then
        set=pretrain_${hours}h
        [[ -d dump/raw/$set ]] || run ../../../utils/subset_data_dir.sh --hours dump/raw/pretrain "$hours" "dump/raw/$set"
    fi
    if [[ ! -f exp/curves/${hours}_$steps/RESULTS.md ]]; then
        ./ssl.sh "${shared[@]}" --stage 3 --tag "curves/${hours}_$steps" --train_set "$set" --baselines "$baselines" \
            --train_args "--set training.max_steps=$steps"
    fi
    baselines=
done
# shellcheck source=/dev/null
. ./path.sh
run python3 local/curves.py --results exp/curves --pool dump/raw --output exp/curves
