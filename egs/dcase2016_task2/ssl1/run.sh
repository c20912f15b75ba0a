#!/usr/bin/env bash
# Sound event detection in synthetic office scenes; pre-trains on the training audio without labels.
# DCASE2016_TASK2=FOLDER ./run.sh; any option of ssl.sh can be given: ./run.sh --help
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

exec ./ssl.sh \
    --train_set pretrain \
    --valid_set pretrain_valid \
    --sed_tasks dcase2016_task2 \
    --train_configs "conf/clip_only.yaml conf/multi_strategy.yaml" \
    --end_of_defaults "$@"
