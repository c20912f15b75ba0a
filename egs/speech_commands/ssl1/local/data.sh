#!/usr/bin/env bash
# Data directories of Speech Commands; options: --classes 12|35, --test archive|list, --partial true.
set -euo pipefail
. ./path.sh
. ./db.sh
python3 local/prepare.py --source "$SPEECH_COMMANDS" "$@"
