#!/usr/bin/env bash
# Pre-trains on any folder of audio and, where label lists are given, evaluates frozen embeddings.
#   ./run.sh --audio_dir DIR [--eval_clip LIST.tsv] [--eval_sed LIST.tsv] [--eval_pitch LIST.tsv] [any option of ssl.sh]
set -euo pipefail
start_dir=$PWD
cd "$(dirname "${BASH_SOURCE[0]}")"

# Options of this recipe go to local/data.sh as CUSTOM_* variables, all others to ssl.sh.
export CUSTOM_AUDIO_DIR='' CUSTOM_EVAL_CLIP='' CUSTOM_EVAL_SED='' CUSTOM_EVAL_PITCH='' CUSTOM_VALID_SHARE=0.05
options=() tasks=()
while [[ $# -gt 0 ]]; do
    name=${1%%=*}
    case $name in
        --audio_dir | --eval_clip | --eval_sed | --eval_pitch | --valid_share)
            if [[ $1 == *=* ]]; then value=${1#*=}; else
                [[ $# -ge 2 ]] || { echo "run.sh: $name needs a value" >&2; exit 2; }
                value=$2
                shift
            fi
            name=${name#--}
            # Paths are relative to where the user stands.
            [[ $name == valid_share || $value == /* ]] || value=$start_dir/$value
            printf -v "CUSTOM_${name^^}" %s "$value"
            [[ $name != eval_* ]] || tasks+=("--${name#eval_}_tasks" "${name#eval_}") ;;
        *) options+=("$1") ;;
    esac
    shift
done

# Nobody knows how short the events of a list are, and what HEAR takes, 250 ms, removes those below 125 ms.
exec ./ssl.sh --train_configs "conf/clip_only.yaml conf/multi_strategy.yaml" --median_filter_ms 40,120,250 --min_duration_ms 0,125 \
    "${tasks[@]}" "${options[@]}"
