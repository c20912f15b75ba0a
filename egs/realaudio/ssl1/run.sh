#!/usr/bin/env bash
# The paper's comparison on real audio: only clip sampling, and with frame and pitch sampling, for several seeds.
#   SONIC_PI=DIR LIBROSA_EXAMPLES=DIR DIRT_SAMPLES=DIR FSDD=DIR ./run.sh [--form test|dev] [any option of ssl.sh]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

form="test" # test: the tasks of the table of results; dev: the tasks on which the defaults were chosen
pass_on=()
help_message=$(sed -n '2,3s/^# *//p' "$0")
# shellcheck source=../../../utils/parse_options.sh
. "${MAIN_ROOT:-../../..}/utils/parse_options.sh"
[[ $form == test || $form == dev ]] || { echo "run.sh: --form must be test or dev, got '$form'" >&2; exit 2; }
# Words and, in the test form, kinds of sound, recorded events and recorded instruments need open_sounds.
clips="" events="" pitches=""
if (. ./db.sh && [[ -n $OPEN_SOUNDS ]]); then
    clips=" ${form}_words"
    [[ $form == dev ]] || clips+=" test_kinds" events=" test_events" pitches=" test_instruments"
fi

# Published configuration with only clip and with all sampling, clip sampling with COLA's cuts, and ours. Half of the
# one-shots of the test form are too short for HEAR's post-processing.
exec ./ssl.sh \
    --clip_tasks "${form}_digits ${form}_folders$clips" \
    --sed_tasks "${form}_soundscapes$events" \
    --pitch_tasks "${form}_notes ${form}_notes_piano$pitches" \
    --median_filter_ms 40,120,250 --min_duration_ms 0 \
    --train_configs "conf/paper_clip.yaml conf/paper.yaml conf/clip_anywhere.yaml conf/clip.yaml conf/clip_frame.yaml conf/clip_pitch.yaml conf/all.yaml" \
    --train_seeds 0,1,2 \
    --end_of_defaults ${pass_on[@]+"${pass_on[@]}"} "$@"
