#!/usr/bin/env bash
# Data directories of HEAR task directories; run.sh passes its --tasks as HEAR_NAMES.
set -euo pipefail
. ./path.sh
. ./db.sh
python3 local/prepare.py --source "$HEAR_TASKS" --tasks "${HEAR_NAMES-}" "$@"
