#!/usr/bin/env bash
# Data directories from a folder of audio and label lists; run.sh passes its options as CUSTOM_* variables.
set -euo pipefail
. ./path.sh
[[ -n ${CUSTOM_AUDIO_DIR-} ]] || { echo "run.sh: --audio_dir DIR is needed: the folder with your audio" >&2; exit 2; }
python3 local/prepare.py --audio_dir "$CUSTOM_AUDIO_DIR" --valid_share "$CUSTOM_VALID_SHARE" --out_dir data \
    --eval_clip "$CUSTOM_EVAL_CLIP" --eval_sed "$CUSTOM_EVAL_SED" --eval_pitch "$CUSTOM_EVAL_PITCH" \
    --eval_task "${CUSTOM_EVAL_TASK-}" --config "${CUSTOM_CONFIG-}" "$@"
