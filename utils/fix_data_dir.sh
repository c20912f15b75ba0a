#!/usr/bin/env bash
# `fix_data_dir.sh --help` says what it does; the work is in datadir/fix.py.
exec python3 "$(dirname "${BASH_SOURCE[0]}")/data_dir.py" fix "$@"
