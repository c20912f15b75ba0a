#!/usr/bin/env bash
# Spoken commands, 12 classes as in HEAR; pre-trains on the training words without labels.
# SPEECH_COMMANDS=FOLDER ./run.sh; any option of ssl.sh can be given: ./run.sh --help
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

exec ./ssl.sh \
    --train_set pretrain \
    --valid_set pretrain_valid \
    --clip_tasks speech_commands \
    --train_configs "conf/clip_only.yaml conf/multi_strategy.yaml" \
    --end_of_defaults "$@"
