#!/usr/bin/env bash
# Any HEAR task directory: frozen embeddings, scored with the task's own vocabulary, splits and metrics.
#   HEAR_TASKS=FOLDER ./run.sh [--tasks "NAME NAME"] [--pretrained CKPT] [any option of ssl.sh]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

export HEAR_NAMES=''
options=() kinds=()
while [[ $# -gt 0 ]]; do
    case $1 in
        --tasks) HEAR_NAMES=${2?run.sh: --tasks needs a value} && shift 2 ;;
        --tasks=*) HEAR_NAMES=${1#*=} && shift ;;
        *) options+=("$1") && shift ;;
    esac
done
if [[ " ${options[*]-} " != *" --help "* ]]; then
    # What kind each task is stands in its metadata.
    found=$(. ./path.sh && . ./db.sh && python3 local/prepare.py --source "$HEAR_TASKS" --tasks "$HEAR_NAMES" --print_options true)
    mapfile -t kinds <<<"$found"
fi

exec ./ssl.sh \
    --train_set pretrain \
    --valid_set pretrain_valid \
    --train_configs "conf/clip_only.yaml conf/multi_strategy.yaml" \
    --probe_mode hear \
    "${kinds[@]}" "${options[@]}"
