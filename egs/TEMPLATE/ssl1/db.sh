# shellcheck shell=bash disable=SC2034
# Folders of the datasets on this machine. Set the folder of each dataset that you have, here or
# as an exported variable. With the value `downloads` a recipe downloads a dataset that has a
# public archive, into its downloads/ folder. If the variable is empty, the recipe stops at the
# start with a message that says what it needs and where to get it.

AUDIOSET=${AUDIOSET-}                # audio and the label CSV files; cannot be downloaded
SPEECH_COMMANDS=${SPEECH_COMMANDS-}  # version 0.02 and its test set
DCASE2016_TASK2=${DCASE2016_TASK2-}  # sound event detection in synthetic audio
NSYNTH=${NSYNTH-}                    # nsynth-train, nsynth-valid and nsynth-test
ESC50=${ESC50-}                      # audio/ and meta/esc50.csv, or a folder for each class
FSD50K=${FSD50K-}                    # dev and eval audio, and the ground truth CSV files
FSDD=${FSDD-}                        # free-spoken-digit-dataset, with recordings/
URBAN_SED=${URBAN_SED-}              # audio/ and annotations/, strong labels
HEAR_TASKS=${HEAR_TASKS-}            # a folder of HEAR task directories
