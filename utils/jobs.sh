# shellcheck shell=bash
# Job control of a stage script: source it after the options.  Reads `dry_run` (true or false)
# and `model_nj` (number of parallel jobs); a job is a launcher's command line and its log.
#
#   run COMMAND...          runs a command, or with dry_run prints it
#   follow LOG COMMAND...   runs a launcher and shows its log
#   beside LOG COMMAND...   the same, but with model_nj above one in parallel with earlier jobs
#   join_all                waits for all jobs, reports failures; status of the last failed job
#
#   for name in one two; do beside "exp/$name.log" run.py "exp/$name.log" train "$name"; done
#   join_all

: "${dry_run:=false}" "${model_nj:=1}"

run() {
    if "$dry_run"; then printf '%q ' "$@"; echo; else "$@"; fi
}

# Overwrites the log or, with keep_log=true, shows only what is appended to it.
follow() {
    local log=$1 status=0 shower from=1
    shift
    if "$dry_run"; then run "$@"; return; fi
    mkdir -p "$(dirname "$log")"
    if "${keep_log:-false}"; then touch "$log"; from=$(($(wc -c <"$log") + 1)); else : >"$log"; fi
    # GNU tail ends with this script, however that ends.
    tail -c "+$from" ${tail_options[@]+"${tail_options[@]}"} -F "$log" 2>/dev/null &
    shower=$!
    SHOWN_LOG=$log "$@" || status=$? # launchers do not repeat the end of this log
    sleep 0.2
    kill "$shower" 2>/dev/null || true
    wait "$shower" 2>/dev/null || true
    return "$status"
}
tail_options=()
! tail --version 2>/dev/null | grep -q GNU || tail_options=(--pid=$$ --sleep-interval=0.1)

# Logs of parallel jobs are not shown, because they would be mixed.
beside_logs=() beside_pids=()
beside() {
    local log=$1 running
    if "$dry_run" || [[ $model_nj -eq 1 ]]; then follow "$@"; return; fi
    shift
    while running=$(jobs -pr | wc -l) && [[ $running -ge $model_nj ]]; do tick; done
    mkdir -p "$(dirname "$log")"
    echo "$(date '+%F %T') started, see $log"
    # Ctrl-C also reaches the jobs, other signals must be forwarded; in both cases wait while the jobs save.
    trap 'wait; exit 130' INT
    trap 'kill ${beside_pids[@]+"${beside_pids[@]}"} 2>/dev/null; wait; exit 143' TERM
    "$@" &
    beside_logs+=("$log") beside_pids+=("$!")
}

join_all() {
    local index status worst=0
    for index in ${beside_pids[@]+"${!beside_pids[@]}"}; do
        status=0
        while kill -0 "${beside_pids[index]}" 2>/dev/null; do tick; done
        wait "${beside_pids[index]}" || status=$?
        [[ $status -ne 0 ]] || continue
        worst=$status
        case $status in
            # bash does not notice a Ctrl-C that arrives when the job that it waits for ends.
            75) echo "${0##*/}: stopped and saved, see ${beside_logs[index]}; rerun to continue" >&2 ;;
            *) echo "${0##*/}: failed with status $status, see ${beside_logs[index]}" >&2 ;;
        esac
    done
    trap - INT TERM
    beside_logs=() beside_pids=()
    return "$worst"
}

# tick: sleeps a fifth of a second; every 30 s prints the last line of every running job's log.
ticks=0
tick() {
    local index line
    sleep 0.2
    ticks=$((ticks + 1))
    [[ $((ticks % 150)) -eq 0 ]] || return 0
    for index in ${beside_pids[@]+"${!beside_pids[@]}"}; do
        kill -0 "${beside_pids[index]}" 2>/dev/null || continue
        line=$(tail -c 400 "${beside_logs[index]}" 2>/dev/null | tr '\r' '\n' | sed '/^[[:space:]]*$/d' | tail -n 1) || line=
        [[ -z $line ]] || echo "  $(basename "$(dirname "${beside_logs[index]}")")/$(basename "${beside_logs[index]}"): $line"
    done
}
