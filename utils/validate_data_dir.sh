#!/usr/bin/env bash
# `validate_data_dir.sh --help` says what it does; the work is in datadir/validate.py.
exec python3 "$(dirname "${BASH_SOURCE[0]}")/data_dir.py" validate "$@"
