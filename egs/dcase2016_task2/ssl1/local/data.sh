#!/usr/bin/env bash
# Data directories of DCASE 2016 Task 2; options: --split hear|published, --partial true.
set -euo pipefail
. ./path.sh
. ./db.sh
python3 local/prepare.py --source "$DCASE2016_TASK2" "$@"
