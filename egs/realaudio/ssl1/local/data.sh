#!/usr/bin/env bash
# The pool and the tasks; options: --speech N, --music N, --pool LIST, --per_digit N, --valid_share X, --seed N (see prepare.py).
set -euo pipefail
. ./path.sh
. ./db.sh
python3 local/prepare.py --sonic_pi "$SONIC_PI" --librosa_examples "$LIBROSA_EXAMPLES" --dirt_samples "$DIRT_SAMPLES" --open_sounds "$OPEN_SOUNDS" \
    --fsdd "$FSDD" --soundfont "$SOUNDFONT" --nj "$(getconf _NPROCESSORS_ONLN)" "$@"
