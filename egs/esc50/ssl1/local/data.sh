#!/usr/bin/env bash
# Data directories of ESC-50; options: --partial true.
set -euo pipefail
. ./path.sh
. ./db.sh
python3 local/prepare.py --source "$ESC50" "$@"
