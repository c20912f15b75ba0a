#!/usr/bin/env bash
# Pre-trains with clip-level sampling alone and with all strategies on a corpus it makes itself, and compares them frozen.
# Any option of ssl.sh can be given: ./run.sh --help
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

exec ./ssl.sh \
    --train_set pretrain \
    --valid_set pretrain_valid \
    --clip_tasks clip \
    --sed_tasks sed \
    --pitch_tasks pitch \
    --train_configs "conf/clip_only.yaml conf/multi_strategy.yaml" \
    --quick_probe true \
    --end_of_defaults "$@"
