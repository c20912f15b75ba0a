#!/usr/bin/env bash
# Pitch of single notes as in HEAR; pre-trains on the training notes without labels.
# NSYNTH=FOLDER ./run.sh; any option of ssl.sh can be given: ./run.sh --help
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

exec ./ssl.sh \
    --train_set pretrain \
    --valid_set pretrain_valid \
    --pitch_tasks nsynth \
    --train_configs "conf/clip_only.yaml conf/multi_strategy.yaml" \
    --end_of_defaults "$@"
