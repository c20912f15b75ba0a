# shellcheck shell=bash disable=SC2034
# Where the audio of this recipe is on this machine; here or as exported variables. README.md says what each folder holds.

SONIC_PI=${SONIC_PI-}
LIBROSA_EXAMPLES=${LIBROSA_EXAMPLES-}
DIRT_SAMPLES=${DIRT_SAMPLES-}
FSDD=${FSDD-}
OPEN_SOUNDS=${OPEN_SOUNDS-}
SOUNDFONT=${SOUNDFONT-/usr/share/sounds/sf2/TimGM6mb.sf2}
