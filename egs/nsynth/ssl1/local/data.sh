#!/usr/bin/env bash
# Data directories of NSynth; options: --subset 5h|50h|full, --pretrain subset|full, --partial true.
set -euo pipefail
. ./path.sh
. ./db.sh
python3 local/prepare.py --source "$NSYNTH" "$@"
