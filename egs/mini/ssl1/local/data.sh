#!/usr/bin/env bash
# Generates the mini corpus; options: --seed N, --scale X (see make_corpus.py).
set -euo pipefail
. ./path.sh
python3 local/make_corpus.py --out_dir data --nj "$(getconf _NPROCESSORS_ONLN)" "$@"
