#!/usr/bin/env bash
# Pre-training clips of AudioSet and the three evaluation sets. All datasets are checked before anything is written.
set -euo pipefail

subset=balanced # balanced, unbalanced or all: the published lists to pre-train on
list=           # instead of a subset: a segment list (.csv), or a file of YouTube ids
share=1.0       # share of the clips to use
nsynth=5h       # 5h, 50h or full: notes of the pitch task
seed=0          # random seed
partial=false   # accept copies with missing files
help_message="Usage: $0 [--subset balanced|unbalanced|all] [--list FILE] [--share X] [--nsynth 5h|50h|full] [--seed N] [--partial true]"

. ./path.sh
. ./db.sh
. "$MAIN_ROOT/utils/parse_options.sh"

# prepare NAME VALUE OPTION...: prepares the evaluation set of another recipe.
prepare() {
    local name=$1 value=$2 recipe=../../$1/ssl1
    shift 2
    python3 "$recipe/local/prepare.py" --source "$value" --archives "$recipe/conf/archives.txt" \
        --download_dir "downloads/$name" --partial "$partial" --seed "$seed" "$@"
}
audioset=(python3 local/prepare.py --source "$AUDIOSET" --subset "$subset" --list "$list" --share "$share" --partial "$partial" --seed "$seed")

missing=0
"${audioset[@]}" --check true || missing=$((missing + 1))
for name in speech_commands dcase2016_task2 nsynth; do
    variable=$(tr '[:lower:]' '[:upper:]' <<<"$name")
    # Datasets to download cannot be checked yet.
    [[ ${!variable} == downloads ]] || prepare "$name" "${!variable}" --check true || missing=$((missing + 1))
done
if [[ $missing -gt 0 ]]; then
    echo "data.sh: $missing of 4 datasets missing or incomplete (see above); nothing was written" >&2
    exit 2
fi

prepare speech_commands "$SPEECH_COMMANDS" --pretrain false
prepare dcase2016_task2 "$DCASE2016_TASK2" --pretrain false
prepare nsynth "$NSYNTH" --pretrain none --subset "$nsynth"
"${audioset[@]}"
