#!/usr/bin/env bash
# `get_utt2dur.sh --help` says what it does; the work is in datadir/utt2dur.py.
exec python3 "$(dirname "${BASH_SOURCE[0]}")/data_dir.py" utt2dur "$@"
