#!/usr/bin/env bash
# The paper's comparison on real audio: clip sampling alone and with frame and pitch sampling, several pre-training seeds.
#   SONIC_PI=DIR LIBROSA_EXAMPLES=DIR DIRT_SAMPLES=DIR FSDD=DIR ./run.sh [--pretrain_seeds 0,1,2] [--form test|dev] [--configs "FILE ..."] [any option of ssl.sh]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

fail() { echo "run.sh: $*" >&2; exit 2; }
pretrain_seeds=0,1,2 # one run of every configuration each
form="test"          # test: the tasks of the table; dev: those that the defaults were chosen on
tag=main
train_args=
# clip sampling alone and all three as published, clip sampling with COLA's cuts, and ours; the main one last
configs="conf/paper_clip.yaml conf/paper.yaml conf/clip_anywhere.yaml conf/clip.yaml conf/clip_frame.yaml conf/clip_pitch.yaml conf/all.yaml"
train_configs= # the same by ssl.sh's name
# options of ssl.sh that decide what is done here as well
stage=1 stop_stage=9 dry_run=false pretrained="" reference="" baselines="baseline:logmel untrained"
pass_on=()
help_message=$(sed -n '2,3s/^# *//p' "$0")
# shellcheck source=../../../utils/parse_options.sh
. "${MAIN_ROOT:-../../..}/utils/parse_options.sh"
[[ " ${pass_on[*]-} " != *" --help "* ]] || exec ./ssl.sh --help
[[ $# -eq 0 ]] || fail "unexpected argument '$1' (options are --name value; see --help)"
configs=${train_configs:-$configs}
[[ $pretrain_seeds =~ ^[0-9]+(,[0-9]+)*$ ]] || fail "--pretrain_seeds must be numbers separated by commas, got '$pretrain_seeds'"
[[ $form == test || $form == dev ]] || fail "--form must be test or dev, got '$form'"
for name in stage stop_stage; do
    [[ ${!name} =~ ^[0-9]$ ]] || fail "--$name must be a whole number from 1 to 9, got '${!name}'"
done
read -ra files <<<"${configs//$'\n'/ }"
[[ ${#files[@]} -gt 0 ]] || fail "--configs is empty"
models=()
for file in "${files[@]}"; do models+=("$(basename "${file%.yaml}")"); done
# Words, and in the test form kinds of sound and recorded instruments, are made from open_sounds, where that is at hand.
clips= pitches=
if (. ./db.sh && [[ -n $OPEN_SOUNDS ]]); then
    clips=" ${form}_words"
    [[ $form == dev ]] || clips+=" test_kinds" pitches=" test_instruments"
fi
shared=(
    --clip_tasks "${form}_digits ${form}_folders$clips"
    --sed_tasks "${form}_soundscapes"
    --pitch_tasks "${form}_notes ${form}_notes_piano$pitches"
    # Half of the one-shots of the test form are shorter than what HEAR's 250 ms leave.
    --median_filter_ms "40,120,250" --min_duration_ms 0
    --train_configs "$configs" --dry_run "$dry_run" --stop_stage "$stop_stage" # read above, from --config too
    --end_of_defaults ${pass_on[@]+"${pass_on[@]}"}
)
# A finished model has no pre-training seeds.
[[ -z $pretrained ]] || exec ./ssl.sh "${shared[@]}" --tag "$tag" --stage "$stage" --baselines "$baselines" --pretrained "$pretrained" --reference "$reference"

if [[ -z $reference ]]; then
    reference=${models[0]}
    [[ " ${models[*]} " != *" clip "* ]] || reference=clip
fi
IFS=, read -ra seeds <<<"$pretrain_seeds"
results=() experiments=()
for seed in "${seeds[@]}"; do
    ./ssl.sh "${shared[@]}" --tag "$tag/seed$seed" --stage "$stage" --baselines "$baselines" --reference "$reference" \
        --train_args "$train_args --set training.seed=$seed" --untrained_seed "$seed"
    results+=("exp/$tag/seed$seed/results")
    experiments+=("exp/$tag/seed$seed/${models[-1]}")
    # Data, features and log-mel statistics are the same for every seed.
    [[ $stop_stage -ge 4 ]] || exit 0
    [[ $stage -ge 4 ]] || stage=4
    baselines=${baselines//baseline:logmel/}
    baselines=${baselines//floor:logmel/} # its former name
    [[ ! -d ${results[0]}/logmel || -d ${results[-1]}/logmel ]] || cp -r "${results[0]}/logmel" "${results[-1]}/logmel"
done
[[ $dry_run == false && $stop_stage -eq 9 && ${#seeds[@]} -gt 1 ]] || exit 0

# shellcheck source=/dev/null
. ./path.sh
measured=
for name in logmel untrained "${models[@]}"; do
    [[ ! -d ${results[0]}/$name ]] || measured+=${measured:+,}$name
done
ssltoolkit report --results "${results[@]}" --output "exp/$tag" --reference "$reference" --models "$measured" --exp_dirs "${experiments[@]}"
