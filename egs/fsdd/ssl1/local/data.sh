#!/usr/bin/env bash
# Data directories of the Free Spoken Digit Dataset; options: --valid_speakers, --test_speakers, --partial true.
set -euo pipefail
. ./path.sh
. ./db.sh
python3 local/prepare.py --source "$FSDD" "$@"
