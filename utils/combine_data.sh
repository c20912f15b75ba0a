#!/usr/bin/env bash
# `combine_data.sh --help` says what it does; the work is in datadir/combine.py.
exec python3 "$(dirname "${BASH_SOURCE[0]}")/data_dir.py" combine "$@"
