#!/usr/bin/env bash
# Evaluates frozen embeddings on any HEAR task directory, with the task's vocabulary, splits and metrics.
#   HEAR_TASKS=FOLDER ./run.sh [--tasks "NAME NAME"] [--pretrained CKPT] [any option of ssl.sh]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

tasks=''
pass_on=() kinds=()
# shellcheck source=../../../utils/parse_options.sh
. "${MAIN_ROOT:-../../..}/utils/parse_options.sh"
export HEAR_NAMES=$tasks
if [[ " ${pass_on[*]-} " != *" --help "* ]]; then
    # The kind of each task is in its metadata.
    found=$(. ./path.sh && . ./db.sh && python3 local/prepare.py --source "$HEAR_TASKS" --tasks "$HEAR_NAMES" --print_options true)
    while IFS= read -r kind; do kinds+=("$kind"); done <<<"$found"
fi

exec ./ssl.sh \
    --train_set pretrain \
    --valid_set pretrain_valid \
    --train_configs "conf/clip_only.yaml conf/multi_strategy.yaml" \
    --probe_mode hear \
    ${kinds[@]+"${kinds[@]}"} --end_of_defaults ${pass_on[@]+"${pass_on[@]}"} "$@"
