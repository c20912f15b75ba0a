#!/usr/bin/env bash
# Generates a corpus, pre-trains with only clip-level sampling and with all strategies, and compares frozen embeddings.
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
