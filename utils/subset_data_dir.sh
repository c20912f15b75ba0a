#!/usr/bin/env bash
# `subset_data_dir.sh --help` says what it does; the work is in datadir/subset.py.
exec python3 "$(dirname "${BASH_SOURCE[0]}")/data_dir.py" subset "$@"
