#!/usr/bin/env bash
# All stages of every recipe, from audio to the table of frozen scores. A recipe's run.sh only sets options.
set -euo pipefail

# Upper-case variables and arrays are not options.
COMMAND_LINE=$(printf '%q ' "$0" "$@")
# Environment for exp/*/run.sh: variables that a recipe passes to its data preparation, and those that select the environment.
GIVEN_VARIABLES=$(compgen -e | grep -E '^(CUSTOM|HEAR|SSLTOOLKIT)_|^(MAIN_ROOT|cmd_backend|(train|cuda|extract|eval)_cmd)$' || true)

# General
stage=1                 # first stage to run
stop_stage=9            # last stage to run
nj=2                    # parallel jobs of formatting and feature extraction
model_nj=auto           # models to pre-train, embed and evaluate in parallel, sharing this machine's CPUs; auto: one per CPU, up to the number of configurations
dry_run=false           # print the commands instead of running them
# Data
local_data_opts=        # passed to local/data.sh
train_set=pretrain      # unlabelled set to pre-train on, below data/
valid_set=pretrain_valid # unlabelled set to validate on; empty for none
clip_tasks=             # names of clip classification tasks, each data/<name>/{train,valid,test}, or data/<name> with utt2fold
sed_tasks=              # names of sound event detection tasks
pitch_tasks=            # names of pitch tasks
plugin_tasks=           # plugin tasks as task:name, such as tempo:loops for data/loops; plugins: in the main configuration names the task's file
max_bad=0.01            # tolerated share of unusable audio files (at least one file)
compression=none        # format of feature archives: none, speech, uint16, uint8
allow_pipes=false       # run entries of wav.scp that are commands (sox ... |)
# Pre-training
train_configs=conf/default.yaml # configurations to pre-train and compare, the main one last
train_seeds=            # seeds of pre-training, such as 0,1,2: one run of every configuration per seed, in exp/<tag>/seed<N>; default: the configuration's seed
train_args=             # further options of ssltoolkit pretrain, such as '--set optimizer.lr=1e-3'
ngpu=0                  # GPUs (without GPUs: processes) per machine for pre-training; 0: one process, which uses a GPU if there is one
num_nodes=1             # number of machines for pre-training
tag=main                # experiments go to exp/<tag>
pretrained=             # evaluate this model instead of pre-training: a checkpoint or model folder, shipped, owner/name, released:<encoder>:<file> or peer:<name>
# Evaluation
baselines="baseline:logmel untrained" # measured beside the pre-trained models; empty for none
untrained_seed=0        # seed of the untrained weights; with --train_seeds each run has its own
probe_seeds=0,1,2       # seeds of every probe
probe_mode=standard     # standard, hear, linear or knn
quick_probe=false       # small probe grid
median_filter_ms=       # SED: filter lengths to try on the validation split, comma-separated; default: 250, as in HEAR
min_duration_ms=        # SED: minimum event durations to try on the validation split; default: 125,250, as in HEAR
reference=              # reference model of the paired differences; default: configuration clip, else the first one (with --pretrained: the first model)

help_message="Usage: $0 [options]
Stages: 1 data preparation, 2 format (16 kHz mono wave archives), 3 features (log-mel, global statistics),
4 pre-training, 5 frozen embeddings, 6 clip evaluation, 7 sound event detection, 8 pitch evaluation
and tasks of plugins, 9 results and report.
Options, with their defaults:
$(sed -n '/^# General/,/^help_message/{/^[a-z_]*=/s/^\([a-z_]*\)=\(.*\)$/  --\1 \2/p;}' "${BASH_SOURCE[0]}" | grep -v help_message)"

. ./path.sh
SECONDS=0 # set-up on a fresh machine is no part of the estimates
. "$MAIN_ROOT/utils/parse_options.sh"
. "$MAIN_ROOT/utils/jobs.sh" # run, follow, beside, join_all

fail() { echo "ssl.sh: $*" >&2; exit 2; }
[[ $# -eq 0 ]] || fail "unexpected argument '$1' (options are --name value; see --help)"
read -ra configs <<<"${train_configs//$'\n'/ }"
if [[ $model_nj == auto ]]; then
    model_nj=1 # on a GPU or a cluster, one at a time by default
    if [[ $ngpu == 0 && ${cmd_backend:-local} == local ]] && ! command -v nvidia-smi >/dev/null; then
        model_nj=$(getconf _NPROCESSORS_ONLN)
        [[ $model_nj -le ${#configs[@]} ]] || model_nj=${#configs[@]}
        [[ $model_nj -gt 0 ]] || model_nj=1
    fi
fi
for number in stage stop_stage nj model_nj ngpu num_nodes untrained_seed; do
    [[ ${!number} =~ ^(0|[1-9][0-9]{0,8})$ ]] || fail "--$number must be a whole number, got '${!number}'"
done
[[ $model_nj -gt 0 ]] || fail "--model_nj must be at least 1"
[[ $stage -ge 1 && $stage -le 9 && $stage -le $stop_stage ]] ||
    fail "--stage must be 1 to 9 and not above --stop_stage, got --stage $stage --stop_stage $stop_stage"
. ./cmd.sh
[[ $probe_mode =~ ^(standard|hear|linear|knn)$ ]] || fail "--probe_mode must be standard, hear, linear or knn, got '$probe_mode'"
[[ $probe_seeds =~ ^[0-9]+(,[0-9]+)*$ ]] || fail "--probe_seeds must be whole numbers separated by commas, got '$probe_seeds'"
for number in median_filter_ms min_duration_ms; do
    [[ ${!number} =~ ^([0-9]+(\.[0-9]+)?(,[0-9]+(\.[0-9]+)?)*)?$ ]] || fail "--$number must be milliseconds separated by commas, got '${!number}'"
done
# Independent launchers would all use the first GPU.
[[ $model_nj -eq 1 || $ngpu -eq 0 || $cuda_cmd == *slurm.py* ]] || fail "--model_nj above 1 with --ngpu needs cmd_backend=slurm; here pre-train one model at a time"

read -ra train_options <<<"$train_args"
read -ra train_launcher <<<"$train_cmd"
read -ra extract_launcher <<<"$extract_cmd"
read -ra cuda_launcher <<<"$cuda_cmd"
read -ra eval_launcher <<<"$eval_cmd"
read -ra data_options <<<"$local_data_opts"
read -ra clips <<<"$clip_tasks"
read -ra seds <<<"$sed_tasks"
read -ra pitches <<<"$pitch_tasks"
read -ra others <<<"$plugin_tasks"
for task in ${others[@]+"${others[@]}"}; do
    [[ $task =~ ^[^:]+:[^:]+$ ]] || fail "--plugin_tasks must be task:name, such as tempo:loops, got '$task'"
done
twice=$(printf '%s\n' ${clips[@]+"${clips[@]}"} ${seds[@]+"${seds[@]}"} ${pitches[@]+"${pitches[@]}"} ${others[@]+"${others[@]#*:}"} | sort | uniq -d)
[[ -z $twice ]] || fail "dataset '${twice%%$'\n'*}' is given for two tasks, whose results would share a file; link data/${twice%%$'\n'*} to a second name"
read -ra references <<<"$baselines"
[[ ${#configs[@]} -gt 0 ]] || fail "--train_configs is empty"
[[ -z $pretrained ]] || train_seeds= # the model is already trained
read -ra seeds <<<"${train_seeds//,/ }"
for seed in ${seeds[@]+"${seeds[@]}"}; do
    [[ $seed =~ ^(0|[1-9][0-9]{0,8})$ ]] || fail "--train_seeds must be whole numbers, got '$train_seeds'"
done
twice=$(printf '%s\n' ${seeds[@]+"${seeds[@]}"} | sort | uniq -d)
[[ -z $twice ]] || fail "--train_seeds names ${twice%%$'\n'*} twice"
[[ ${#seeds[@]} -gt 0 ]] || seeds=("") # one run, with the seed of its configuration
main_config=${configs[${#configs[@]} - 1]}
plugins=() # options with which evaluation and report find plugin tasks
[[ ${#others[@]} -eq 0 ]] || plugins=(--config "$main_config")
dumpdir=dump/raw fbankdir=dump/fbank
stats=$fbankdir/$train_set/stats.npz
# A pre-trained model contains its statistics; only the baselines then need the pre-training sets.
unlabelled=("$train_set" ${valid_set:+"$valid_set"}) statistics=(--stats "$stats")
[[ -z $pretrained ]] || unlabelled=("$train_set")
[[ -z $pretrained || -n $baselines ]] || unlabelled=() statistics=()
# Call this after stage 1, which decides whether a task is a k-fold set (data/<name>/utt2fold).
list_task_sets() {
    local task
    task_sets=()
    for task in ${clips[@]+"${clips[@]}"} ${seds[@]+"${seds[@]}"} ${pitches[@]+"${pitches[@]}"} ${others[@]+"${others[@]#*:}"}; do
        if [[ -f data/$task/utt2fold || -f $dumpdir/$task/utt2fold ]]; then
            task_sets+=("$task")
        else
            ! "$dry_run" || [[ -d data/$task ]] || echo "# data/$task does not exist yet: shown as train, valid and test"
            task_sets+=("$task/train" "$task/valid" "$task/test")
        fi
    done
}

# write_repeat FILE: writes a script that repeats this experiment, with its seed, from any folder; it accepts the options of run.sh.
write_repeat() {
    local name
    {
        printf '#!/usr/bin/env bash\n# Repeats this experiment: the recipe, where its data are, and its options.\ncd %q || exit 2\n' "$PWD"
        for name in $GIVEN_VARIABLES; do printf 'export %s=%q\n' "$name" "${!name}"; done
        [[ ! -f db.sh ]] || (
            # shellcheck source=db.sh
            . ./db.sh
            while read -r name; do printf 'export %s=%q\n' "$name" "${!name}"; done < <(sed -n 's/^\([A-Z][A-Z0-9_]*\)=.*/\1/p' db.sh)
        )
        printf 'exec %s"$@"\n' "$COMMAND_LINE${seed:+--train_seeds $seed }"
    } >"$1"
    chmod +x "$1"
}
# in_stage N TITLE: whether to run stage N; prints its title and an estimate of the remaining time from the stages' usual shares.
shares=(0 9 2 1 59 8 3 14 2 2) # per cent of egs/mini by stage
in_stage() {
    local done=0 left=0 number estimate=""
    [[ $stage -le $1 && $1 -le $stop_stage ]] || return 1
    for ((number = stage; number <= stop_stage; number++)); do
        if [[ $number -lt $1 ]]; then done=$((done + shares[number])); else left=$((left + shares[number])); fi
    done
    [[ $done -eq 0 || $SECONDS -lt 20 ]] || estimate=", $((SECONDS / 60)) min so far, about $((SECONDS * left / done / 60 + 1)) min left"
    echo "$(date '+%F %T') stage $1: $2 ($1 of 9${estimate})"
}
model_name() { basename "${1%.yaml}"; }

# feature_dirs[i]: features of configuration i. Configurations with the same frontend share them; those of the main one have the plain name.
feature_dirs=()
find_feature_dirs() {
    local main=$((${#configs[@]} - 1)) index lines fingerprints
    feature_dirs[main]=$fbankdir/$train_set
    [[ -z $pretrained && $main -gt 0 ]] || return 0
    lines=$(ssltoolkit check-config --fingerprint frontend "${configs[@]}")
    read -ra fingerprints <<<"${lines//$'\n'/ }"
    for ((index = 0; index < main; index++)); do
        feature_dirs[index]=$fbankdir/$train_set
        [[ ${fingerprints[index]} == "${fingerprints[main]}" ]] || feature_dirs[index]+=_${fingerprints[index]}
    done
}
# A mistake in a configuration is reported before audio is prepared for it.
if [[ $stage -lt 3 && $stop_stage -ge 3 && -z $pretrained ]] && ! "$dry_run"; then
    overrides=()
    for ((number = 0; number < ${#train_options[@]}; number++)); do
        case ${train_options[number]} in
            --set) overrides+=(--set "${train_options[number + 1]-}") ;;
            --set=*) overrides+=("${train_options[number]}") ;;
        esac
    done
    ssltoolkit check-config "${configs[@]}" ${overrides[@]+"${overrides[@]}"} >/dev/null
fi
[[ $stage -gt 4 || $stop_stage -lt 3 ]] || find_feature_dirs

# owner/name is a repository, as in `ssltoolkit embed --model`, unless it is a mistyped path below an existing folder.
repository='^[A-Za-z0-9][A-Za-z0-9_.-]*/[A-Za-z0-9][A-Za-z0-9_.-]*(@[A-Za-z0-9_.-]+)?$'
[[ -z $pretrained || $pretrained =~ ^(released:.*|peer:.*|shipped)$ || -e $pretrained ]] ||
    [[ $pretrained =~ $repository && ! $pretrained =~ \.(pt|pth|ckpt|onnx|safetensors|ya?ml)$ && ! -d ${pretrained%%/*} ]] ||
    fail "--pretrained: there is no file '$pretrained' (from $PWD); give the path of a checkpoint or of a model folder, shipped, or owner/name"
if [[ " $baselines " == *" floor:logmel "* ]]; then
    echo "ssl.sh: warning: --baselines: floor:logmel is the former name of baseline:logmel; write that" >&2
    baselines=${baselines//floor:logmel/baseline:logmel}
fi
[[ $pretrained != peer:* ]] || baselines=${baselines//untrained/} # a peer has no untrained version
read -ra references <<<"$baselines"
# use_run SEED: sets the folder of one run, and its models to evaluate: parallel arrays of names and of arguments of `ssltoolkit embed --model`.
use_run() {
    local baseline config
    seed=$1 expdir=exp/$tag${1:+/seed$1} names=() sources=() experiments=()
    main_checkpoint=${pretrained:-$expdir/$(model_name "$main_config")/best.pt}
    if [[ $pretrained == released:* ]]; then # released:<encoder>:<file>; untrained is that encoder
        main_checkpoint=${pretrained#released:}
        main_checkpoint=${main_checkpoint%%:*}
    fi
    for baseline in ${references[@]+"${references[@]}"}; do
        case $baseline in
            baseline:logmel) # the same for every seed
                [[ $seed != "${seeds[0]}" ]] || names+=(logmel) sources+=(baseline:logmel)
                ;;
            untrained) names+=(untrained) sources+=("random:$main_checkpoint") ;;
            random:*) names+=("${baseline//:/_}") sources+=("$baseline") ;;
            *) fail "--baselines: '$baseline' is not baseline:logmel, untrained or random:<encoder>" ;;
        esac
    done
    if [[ -n $pretrained ]]; then
        names+=(pretrained) sources+=("$pretrained")
        return
    fi
    for config in "${configs[@]}"; do
        experiments+=("$expdir/$(model_name "$config")")
        names+=("$(model_name "$config")") sources+=("$expdir/$(model_name "$config")/best.pt")
    done
}
use_run "${seeds[0]}"
if [[ -z $reference ]]; then
    reference=${names[0]}
    [[ -n $pretrained ]] || reference=$(model_name "${configs[0]}")
    [[ " ${names[*]} " != *" clip "* ]] || reference=clip
fi
[[ " ${names[*]-} " == *" $reference "* ]] || fail "--reference: no model '$reference'; there are ${names[*]-}"

if in_stage 1 "data preparation"; then
    [[ -f local/data.sh ]] || fail "there is no local/data.sh, which prepares the data (in $PWD)"
    [[ -x local/data.sh ]] || fail "local/data.sh is not executable; run: chmod +x local/data.sh (in $PWD)"
    run local/data.sh ${data_options[@]+"${data_options[@]}"}
fi
list_task_sets

# check_labels FOLDER: reports wrong labels of FOLDER/<task> before the training, not after it; does nothing a second time.
labels_checked=false
check_labels() {
    local task checked=()
    "$labels_checked" && return
    labels_checked=true
    for task in ${clips[@]+"${clips[@]/#/clip:}"} ${seds[@]+"${seds[@]/#/sed:}"} ${pitches[@]+"${pitches[@]/#/pitch:}"} ${others[@]+"${others[@]}"}; do
        # A HEAR task directory has its own labels, which stage 1 checks.
        [[ -d data/${task#*:}/hear_task ]] || checked+=("${task%%:*}:$1/${task#*:}")
    done
    [[ ${#checked[@]} -eq 0 ]] || run ssltoolkit check-labels ${checked[@]+"${checked[@]}"} ${plugins[@]+"${plugins[@]}"}
}

if in_stage 2 "format: 16 kHz mono wave archives"; then
    check_labels data
    for set in ${unlabelled[@]+"${unlabelled[@]}"} ${task_sets[@]+"${task_sets[@]}"}; do
        log=$dumpdir/$set/log
        follow "$log/format.1.log" "${train_launcher[@]}" JOB=1:"$nj" "$log/format.JOB.log" \
            ssltoolkit format --data_dir "data/$set" --out_dir "$dumpdir/$set" --nj "$nj" --job JOB \
            --allow_pipes "$allow_pipes"
        run ssltoolkit format --data_dir "data/$set" --out_dir "$dumpdir/$set" --merge true --max_bad "$max_bad"
    done
fi

if in_stage 3 "features: log-mel archives and global statistics" && [[ ${#unlabelled[@]} -gt 0 ]]; then
    made=" "
    for index in ${feature_dirs[@]+"${!feature_dirs[@]}"}; do
        features=${feature_dirs[index]}
        [[ $made != *" $features "* ]] || continue
        made+="$features "
        log=$features/log
        options=(--config "${configs[index]}" --data_dir "$dumpdir/$train_set" --out_dir "$features" --compression "$compression")
        follow "$log/features.1.log" "${extract_launcher[@]}" JOB=1:"$nj" "$log/features.JOB.log" \
            ssltoolkit features "${options[@]}" --nj "$nj" --job JOB
        run ssltoolkit features "${options[@]}" --merge true
    done
fi

if in_stage 4 "pre-training" && [[ -z $pretrained ]]; then
    place=() processes=()
    [[ $num_nodes -le 1 || $ngpu -gt 0 ]] || ngpu=1
    if [[ $ngpu -gt 0 ]]; then
        place=(--gpu "$ngpu" --num-nodes "$num_nodes") processes=(--ngpu "$ngpu" --num_nodes "$num_nodes")
    fi
    for index in "${!configs[@]}"; do # report errors before hours of training, not after
        "$dry_run" || [[ -f ${feature_dirs[index]}/stats.npz ]] || fail "${configs[index]}: no ${feature_dirs[index]}/stats.npz; run stage 3 with these --train_configs"
    done
    [[ $stop_stage -lt 5 ]] || check_labels "$dumpdir"
    for seed in "${seeds[@]}"; do
        use_run "$seed"
        for index in "${!configs[@]}"; do
            exp=${experiments[index]}
            run mkdir -p "$exp"
            "$dry_run" || write_repeat "$exp/run.sh"
            # A continued run appends to the log of its earlier attempts.
            keep_log=true beside "$exp/train.log" "${cuda_launcher[@]}" --append-log true ${place[@]+"${place[@]}"} "$exp/train.log" \
                ssltoolkit pretrain --config "${configs[index]}" \
                --train_dir "$dumpdir/$train_set" ${valid_set:+--valid_dir "$dumpdir/$valid_set"} \
                --stats "${feature_dirs[index]}/stats.npz" --exp_dir "$exp" ${processes[@]+"${processes[@]}"} \
                ${train_options[@]+"${train_options[@]}"} ${seed:+--set "training.seed=$seed"}
        done
    done
    join_all
fi

if in_stage 5 "frozen embeddings"; then
    check_labels "$dumpdir"
    for seed in "${seeds[@]}"; do
        use_run "$seed"
        for index in ${names[@]+"${!names[@]}"}; do
            dirs=() outs=() kinds=()
            for set in ${task_sets[@]+"${task_sets[@]}"}; do
                dirs+=("$dumpdir/$set") outs+=("$expdir/embed/${names[index]}/$set")
                kind=scene
                for task in ${seds[@]+"${seds[@]}"}; do [[ $set != "$task" && $set != "$task"/* ]] || kind=frame; done
                for task in ${others[@]+"${others[@]}"}; do [[ $set != "${task#*:}" && $set != "${task#*:}"/* ]] || kind=task:${task%%:*}; done
                kinds+=("$kind")
            done
            [[ ${#dirs[@]} -gt 0 ]] || continue
            log=$expdir/embed/${names[index]}/embed.log
            beside "$log" "${eval_launcher[@]}" "$log" ssltoolkit embed --model "${sources[index]}" --seed "${seed:-$untrained_seed}" --config "$main_config" \
                ${statistics[@]+"${statistics[@]}" --whiten_data "$dumpdir/$train_set"} --data_dir "${dirs[@]}" --out_dir "${outs[@]}" --kind ${kinds[@]+"${kinds[@]}"}
        done
    done
    join_all
fi

# evaluate KIND TASK...: every model on every task of one kind.
evaluate() {
    local kind=$1 task name log labels grid=()
    shift
    if [[ $kind == sed ]]; then
        [[ -z $median_filter_ms ]] || grid+=(--median_filter_ms "$median_filter_ms")
        [[ -z $min_duration_ms ]] || grid+=(--min_duration_ms "$min_duration_ms")
    fi
    for seed in "${seeds[@]}"; do
        use_run "$seed"
        for task in "$@"; do
            labels=(--data_dir "$dumpdir/$task")
            [[ ! -d data/$task/hear_task ]] || labels=(--hear_task "data/$task/hear_task") # its own vocabulary and metrics
            for name in ${names[@]+"${names[@]}"}; do
                log=$expdir/results/$name/$task.log
                beside "$log" "${eval_launcher[@]}" "$log" ssltoolkit evaluate --task "$kind" --task_name "$task" --model "$name" \
                    --embed_dir "$expdir/embed/$name/$task" "${labels[@]}" \
                    --output "$expdir/results/$name/$task.json" \
                    --probe_mode "$probe_mode" --quick "$quick_probe" --seeds "$probe_seeds" ${grid[@]+"${grid[@]}"} ${plugins[@]+"${plugins[@]}"}
            done
        done
    done
    join_all
}
if in_stage 6 "clip evaluation"; then evaluate clip ${clips[@]+"${clips[@]}"}; fi
if in_stage 7 "sound event detection"; then evaluate sed ${seds[@]+"${seds[@]}"}; fi
if in_stage 8 "pitch evaluation${plugin_tasks:+, and $plugin_tasks}"; then
    evaluate pitch ${pitches[@]+"${pitches[@]}"}
    for task in ${others[@]+"${others[@]}"}; do evaluate "${task%%:*}" "${task#*:}"; done
fi

# report FOLDER RESULTS...: writes the table of the evaluated models; results of several seeds are merged.
report() {
    local output=$1
    shift
    run ssltoolkit report --results "$@" --output "$output" --reference "$reference" --models "$(IFS=, && echo "${names[*]-}")" \
        ${experiments[@]+--exp_dirs "${experiments[@]}"} ${plugins[@]+"${plugins[@]}"}
}
if in_stage 9 "results and report"; then
    results=() main_experiments=()
    for seed in "${seeds[@]}"; do
        use_run "$seed"
        if [[ ${#results[@]} -gt 0 && -d ${results[0]}/logmel ]]; then # log-mel was measured only once
            run mkdir -p "$expdir/results/logmel"
            run cp -r "${results[0]}/logmel/." "$expdir/results/logmel"
            [[ " ${names[*]-} " == *" logmel "* ]] || names=(logmel ${names[@]+"${names[@]}"})
        fi
        results+=("$expdir/results") main_experiments+=(${experiments[@]+"${experiments[${#experiments[@]} - 1]}"})
        if [[ ${#task_sets[@]} -eq 0 ]]; then
            echo "no evaluation sets: the pre-trained model is $main_checkpoint"
        else
            report "$expdir" "$expdir/results"
        fi
    done
    if [[ ${#seeds[@]} -gt 1 && ${#task_sets[@]} -gt 0 ]]; then
        use_run "${seeds[0]}"
        experiments=("${main_experiments[@]}")
        report "exp/$tag" "${results[@]}"
    fi
fi
