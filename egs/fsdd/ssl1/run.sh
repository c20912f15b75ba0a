#!/usr/bin/env bash
# Spoken digits of unseen speakers: pre-trains on the training speakers without labels, evaluates frozen embeddings.
# FSDD=FOLDER ./run.sh; any option of ssl.sh can be given: ./run.sh --help
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

exec ./ssl.sh \
    --train_set pretrain \
    --valid_set pretrain_valid \
    --clip_tasks fsdd \
    --train_configs "conf/clip_only.yaml conf/multi_strategy.yaml" \
    --end_of_defaults "$@"
