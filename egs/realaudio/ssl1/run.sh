#!/usr/bin/env bash
# The paper's comparison on real audio: clip sampling alone and with frame and pitch sampling, several pre-training seeds.
#   SONIC_PI=DIR LIBROSA_EXAMPLES=DIR DIRT_SAMPLES=DIR FSDD=DIR ./run.sh [--pretrain_seeds 0,1,2] [--form test|dev] [--configs "FILE ..."] [any option of ssl.sh]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

pretrain_seeds=0,1,2 # one run of every configuration each
form="test"          # test: the tasks of the table; dev: those that the defaults were chosen on
tag=main
train_args=
# ours and, in the published form, clip sampling alone and all three; the main one last
configs="conf/paper_clip.yaml conf/paper.yaml conf/clip.yaml conf/clip_frame.yaml conf/clip_pitch.yaml conf/all.yaml"
options=()
while [[ $# -gt 0 ]]; do
    case $1 in
        --pretrain_seeds | --form | --tag | --train_args | --configs)
            [[ $# -ge 2 ]] || { echo "run.sh: $1 needs a value" >&2; exit 2; }
            printf -v "${1#--}" %s "$2"
            shift ;;
        --help | -h) sed -n '2,3s/^# *//p' "$0"; exec ./ssl.sh --help ;;
        *) options+=("$1") ;;
    esac
    shift
done
[[ $pretrain_seeds =~ ^[0-9]+(,[0-9]+)*$ ]] || { echo "run.sh: --pretrain_seeds must be numbers separated by commas, got '$pretrain_seeds'" >&2; exit 2; }
[[ $form == test || $form == dev ]] || { echo "run.sh: --form must be test or dev, got '$form'" >&2; exit 2; }

IFS=, read -ra seeds <<<"$pretrain_seeds"
results=() experiments=() later=()
for seed in "${seeds[@]}"; do
    ./ssl.sh \
        --clip_tasks "${form}_digits ${form}_folders" \
        --sed_tasks "${form}_soundscapes" \
        --pitch_tasks "${form}_notes ${form}_notes_piano" \
        --train_configs "$configs" \
        --reference clip \
        --tag "$tag/seed$seed" \
        --train_args "$train_args --set training.seed=$seed" \
        --untrained_seed "$seed" \
        ${options[@]+"${options[@]}"} ${later[@]+"${later[@]}"}
    # Data, features and log-mel statistics are the same for every seed.
    later=()
    [[ " ${options[*]-} " == *" --baselines "* ]] || later=(--baselines untrained)
    [[ " ${options[*]-} " == *" --stage "* ]] || later+=(--stage 4)
    results+=("exp/$tag/seed$seed/results")
    [[ ! -d ${results[0]}/logmel || -d ${results[-1]}/logmel ]] || cp -r "${results[0]}/logmel" "${results[-1]}/logmel"
    experiments+=("exp/$tag/seed$seed/all")
done

case " ${options[*]-} " in *" --dry_run "* | *" --stop_stage "*) exit 0 ;; esac
if [[ ${#seeds[@]} -gt 1 ]]; then
    # shellcheck source=/dev/null
    . ./path.sh
    models=
    for name in logmel untrained paper_clip paper clip clip_frame clip_pitch all; do
        [[ ! -d ${results[0]}/$name ]] || models+=${models:+,}$name
    done
    ssltoolkit report --results "${results[@]}" --output "exp/$tag" --reference clip --models "$models" --exp_dirs "${experiments[@]}"
fi
