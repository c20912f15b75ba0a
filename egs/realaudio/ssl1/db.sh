# shellcheck shell=bash disable=SC2034
# Folders of this recipe's audio, set here or as exported variables. README.md describes the content of each folder.

SONIC_PI=${SONIC_PI-}
LIBROSA_EXAMPLES=${LIBROSA_EXAMPLES-}
DIRT_SAMPLES=${DIRT_SAMPLES-}
FSDD=${FSDD-}
OPEN_SOUNDS=${OPEN_SOUNDS-}
SOUNDFONT=${SOUNDFONT-/usr/share/sounds/sf2/TimGM6mb.sf2}
