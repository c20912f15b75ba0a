#!/usr/bin/env bash
# Pre-trains on any folder of audio and, if label lists are given, evaluates frozen embeddings.
#   ./run.sh --audio_dir DIR [--eval_clip LIST.tsv] [--eval_sed LIST.tsv] [--eval_pitch LIST.tsv] [--eval_task TASK:LIST.tsv] [any option of ssl.sh]
set -euo pipefail
START_DIR=$PWD
cd "$(dirname "${BASH_SOURCE[0]}")"
RECIPE=$PWD ROOT=${MAIN_ROOT:-$(cd ../../.. && pwd)}

# Options of this recipe go to local/data.sh as CUSTOM_* variables, all others to ssl.sh.
# shellcheck disable=SC2034  # read by name below
audio_dir='' eval_clip='' eval_sed='' eval_pitch='' eval_task='' valid_share=0.05
train_configs="conf/clip_only.yaml conf/multi_strategy.yaml" # also ssl.sh's; the main one, the last, names the file of --eval_task
pass_on=()
help_message="Options of this recipe, with their defaults:
  --audio_dir DIR           folder of audio to pre-train on
  --eval_clip LIST.tsv      labelled clips to evaluate on; --eval_sed, --eval_pitch, --eval_task TASK:LIST.tsv likewise
  --valid_share $valid_share       share of the files that validate the objective
  --train_configs \"$train_configs\"
  --median_filter_ms 40,120,250 --min_duration_ms 0,125
All recipes have these options; the defaults above replace theirs."
cd "$START_DIR"
# shellcheck source=../../../utils/parse_options.sh
. "$ROOT/utils/parse_options.sh"
cd "$RECIPE"
tasks=()
for name in audio_dir eval_clip eval_sed eval_pitch valid_share; do
    value=${!name}
    # Paths are relative to the user's working directory.
    [[ $name == valid_share || -z $value || $value == /* ]] || value=$START_DIR/$value
    export "CUSTOM_$(tr '[:lower:]' '[:upper:]' <<<"$name")=$value"
    [[ $name != eval_* || -z $value ]] || tasks+=("--${name#eval_}_tasks" "${name#eval_}")
done
if [[ -n $eval_task ]]; then # a plugin's task
    task=${eval_task%%:*} list=${eval_task#*:}
    [[ -n $task && -n $list && $eval_task == *:* ]] || { echo "run.sh: --eval_task must be TASK:LIST.tsv, got '$eval_task'" >&2; exit 2; }
    [[ $list == /* ]] || list=$START_DIR/$list
    read -ra configs <<<"${train_configs//$'\n'/ }"
    [[ ${#configs[@]} -eq 0 ]] || export CUSTOM_EVAL_TASK=$task:$list CUSTOM_CONFIG=${configs[${#configs[@]} - 1]}
    tasks+=(--plugin_tasks "$task:$task")
fi

# The events of a list may be short, and HEAR's median filter of 250 ms removes those below 125 ms.
exec ./ssl.sh --train_configs "$train_configs" --median_filter_ms 40,120,250 --min_duration_ms 0,125 \
    ${tasks[@]+"${tasks[@]}"} --end_of_defaults ${pass_on[@]+"${pass_on[@]}"} "$@"
