#!/usr/bin/env bash
# Data directories of URBAN-SED; options: --annotations txt|jams, --partial true.
set -euo pipefail
. ./path.sh
. ./db.sh
python3 local/prepare.py --source "$URBAN_SED" "$@"
