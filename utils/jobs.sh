# shellcheck shell=bash
# Job control of a stage script: source it after the options.  Reads `dry_run` (true or false)
# and `model_nj` (jobs at a time); a job is a launcher's command line with the log it writes.
#
#   run COMMAND...          runs a command, or with dry_run prints it
#   follow LOG COMMAND...   runs a launcher and shows the log it writes meanwhile
#   beside LOG COMMAND...   the same, or with model_nj above one beside the jobs before it
#   join_all                waits for all of them; tells which failed; status of the last that did
#
#   for name in one two; do beside "exp/$name.log" run.py "exp/$name.log" train "$name"; done
#   join_all

: "${dry_run:=false}" "${model_nj:=1}"

run() {
    if "$dry_run"; then printf '%q ' "$@"; echo; else "$@"; fi
}

# The log is begun anew, or, with keep_log=true, shown after what is there.
follow() {
    local log=$1 status=0 shower from=1
    shift
    if "$dry_run"; then run "$@"; return; fi
    mkdir -p "$(dirname "$log")"
    if "${keep_log:-false}"; then touch "$log"; from=$(($(wc -c <"$log") + 1)); else : >"$log"; fi
    # With GNU tail the shower ends with this script, however that ends.
    tail -c "+$from" ${tail_options[@]+"${tail_options[@]}"} -F "$log" 2>/dev/null &
    shower=$!
    "$@" || status=$?
    sleep 0.2
    kill "$shower" 2>/dev/null || true
    wait "$shower" 2>/dev/null || true
    return "$status"
}
tail_options=()
! tail --version 2>/dev/null | grep -q GNU || tail_options=(--pid=$$)

# Of several jobs at a time no log is shown, for nobody could read them.
beside_logs=() beside_pids=()
beside() {
    local log=$1 running
    if "$dry_run" || [[ $model_nj -eq 1 ]]; then follow "$@"; return; fi
    shift
    while running=$(jobs -pr | wc -l) && [[ $running -ge $model_nj ]]; do tick; done
    mkdir -p "$(dirname "$log")"
    echo "$(date '+%F %T') begins, see $log"
    # Ctrl-C reaches the jobs by itself, another signal does not; either way they are waited for while they save.
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
            # Of a Ctrl-C that comes with the end of what it waits for, bash itself hears nothing.
            75) echo "${0##*/}: stopped and saved, see ${beside_logs[index]}; the same command goes on" >&2 ;;
            *) echo "${0##*/}: failed with status $status, see ${beside_logs[index]}" >&2 ;;
        esac
    done
    trap - INT TERM
    beside_logs=() beside_pids=()
    return "$worst"
}

# tick: a fifth of a second; now and then the last line of every running job's log.
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
