#!/usr/bin/env bash
# Sound event detection in synthetic urban scenes; pre-trains on the training scenes without labels.
# URBAN_SED=FOLDER ./run.sh; any option of ssl.sh can be given: ./run.sh --help
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

exec ./ssl.sh \
    --train_set pretrain \
    --valid_set pretrain_valid \
    --sed_tasks urban_sed \
    --train_configs "conf/clip_only.yaml conf/multi_strategy.yaml" \
    --end_of_defaults "$@"
