#!/usr/bin/env bash
# Data directories of FSD50K; options: --partial true.
set -euo pipefail
. ./path.sh
. ./db.sh
python3 local/prepare.py --source "$FSD50K" "$@"
