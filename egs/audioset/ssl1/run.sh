#!/usr/bin/env bash
# The paper's experiment: pre-trains on AudioSet's balanced list, evaluates on Speech Commands, DCASE 2016 Task 2 and NSynth.
# Set the folders of the four datasets in db.sh or the environment; any option of ssl.sh can be given: ./run.sh --help
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

exec ./ssl.sh \
    --train_set pretrain \
    --valid_set pretrain_valid \
    --clip_tasks speech_commands \
    --sed_tasks dcase2016_task2 \
    --pitch_tasks nsynth \
    --train_configs "conf/default.yaml conf/paper.yaml" \
    --probe_mode hear \
    --end_of_defaults "$@"
