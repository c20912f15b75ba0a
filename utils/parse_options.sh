# shellcheck shell=bash
# Reads a script's command-line options into its variables.  Source it after the defaults:
#
#   stage=1
#   quick=false
#   help_message="Usage: $0 [--stage N] [--quick true|false] FILE"
#   . utils/parse_options.sh
#
# Accepts `--name value` and `--name=value` for every lower-case variable that the script has
# set (except arrays, read-only and environment variables); `-` in an option name means `_`.
# A variable whose default is true or false accepts only these two values.  `--config FILE`
# reads lines `name=value`; the command line overrides it.  Options before `--end_of_defaults`
# are defaults of a calling script: the file and the command line override them.
# A script that passes options on to another declares `pass_on=()`: unknown options are then
# appended to it as `--name=value`, those of the file first, instead of being an error.
# `--help` prints $help_message.  Parsing stops at the first argument that is not an option, or
# after `--`; the rest stays in "$@".  Values are data: nothing is evaluated.
# An error ends the script with status 2 and one line.

_po_fail() {
    local _po_text="$*"
    printf '%s: %s\n' "${0##*/}" "${_po_text//$'\n'/ }" >&2
    exit 2
}

# The text of the sourcing script, up to the line that sources this file.
_po_script=$(head -n "${BASH_LINENO[0]:-0}" "${BASH_SOURCE[1]:-/dev/null}" 2>/dev/null || true)

# _po_own NAME: whether NAME is an option of this script.
_po_own() {
    local _po_own_name=$1 _po_attributes
    [[ $_po_own_name =~ ^[a-z][a-z0-9_]*$ && ${!_po_own_name+set} ]] || return 1
    [[ $_po_own_name != help_message ]] || return 1
    _po_attributes=$(declare -p "$_po_own_name" 2>/dev/null) || return 1
    _po_attributes=${_po_attributes#declare -}
    _po_attributes=${_po_attributes%% *}
    [[ $_po_attributes != *[aAr]* ]] || return 1
    # An environment variable is an option only if the script sets it.
    [[ $_po_attributes != *x* || $_po_script =~ (^|[[:space:]\;])"$_po_own_name"= ]]
}

# _po_is_option WORD: whether WORD reads as one of this script's options.
_po_is_option() {
    local _po_name=${1%%=*}
    [[ $_po_name == --* ]] || return 1
    _po_name=${_po_name#--}
    _po_name=${_po_name//-/_}
    [[ $_po_name == config || $_po_name == help || $_po_name == end_of_defaults ]] && return 0
    _po_own "$_po_name"
}

# _po_set NAME VALUE SHOWN [WHERE]: sets the variable after checking it.
_po_set() {
    local _po_name=$1 _po_value=$2 _po_shown=$3 _po_where=${4:-}
    if ! _po_own "$_po_name"; then
        if [[ -n $_po_passes_on && $_po_name =~ ^[a-z][a-z0-9_]*$ ]]; then
            pass_on+=("--$_po_name=$_po_value")
            return
        fi
        _po_fail "${_po_where}unknown option $_po_shown; --help lists the options"
    fi
    if [[ ${!_po_name} == true || ${!_po_name} == false ]] &&
        [[ $_po_value != true && $_po_value != false ]]; then
        _po_fail "${_po_where}option $_po_shown takes true or false, not '$_po_value'"
    fi
    printf -v "$_po_name" '%s' "$_po_value"
}

# _po_config FILE: sets every `name=value` of FILE; quotes around a whole value are taken off.
_po_config() {
    local _po_file=$1 _po_line _po_name _po_value _po_number=0 _po_blank=$' \t'
    [[ -f $_po_file && -r $_po_file ]] ||
        _po_fail "--config: cannot read '$_po_file'; name an existing file"
    while IFS= read -r _po_line || [[ -n $_po_line ]]; do
        _po_number=$((_po_number + 1))
        _po_line=${_po_line%$'\r'}
        _po_line=${_po_line#"${_po_line%%[!"$_po_blank"]*}"}
        [[ -z $_po_line || $_po_line == \#* ]] && continue
        [[ $_po_line == *=* ]] ||
            _po_fail "$_po_file:$_po_number: not of the form name=value: '$_po_line'"
        _po_name=${_po_line%%=*}
        _po_name=${_po_name%"${_po_name##*[!"$_po_blank"]}"}
        _po_value=${_po_line#*=}
        _po_value=${_po_value#"${_po_value%%[!"$_po_blank"]*}"}
        case $_po_value in
            \"*\"*)
                _po_value=${_po_value#\"}
                _po_closing "${_po_value#*\"}"
                _po_value=${_po_value%%\"*} ;;
            \'*\'*)
                _po_value=${_po_value#\'}
                _po_closing "${_po_value#*\'}"
                _po_value=${_po_value%%\'*} ;;
            *)
                _po_value=${_po_value%%["$_po_blank"]\#*}
                _po_value=${_po_value%"${_po_value##*[!"$_po_blank"]}"} ;;
        esac
        [[ $_po_name != config ]] ||
            _po_fail "$_po_file:$_po_number: a configuration cannot name another one"
        _po_set "${_po_name//-/_}" "$_po_value" "'$_po_name'" "$_po_file:$_po_number: "
    done <"$_po_file"
}

# _po_closing REST: after a closing quote only a comment may follow.
_po_closing() {
    local _po_rest=${1#"${1%%[![:space:]]*}"}
    [[ -z $_po_rest || $_po_rest == \#* ]] ||
        _po_fail "$_po_file:$_po_number: text after the closing quote: '$_po_rest'"
}

_po_passes_on=$(declare -p pass_on 2>/dev/null || true)
_po_defaults=0 # number of names that are defaults
_po_names=()
_po_values=()
_po_configs=()
while [[ $# -gt 0 ]]; do
    case $1 in
        --) shift; break ;;
        --end_of_defaults)
            _po_defaults=${#_po_names[@]}
            shift
            continue ;;
        --help | -h)
            [[ -n $_po_passes_on && -z ${help_message-} ]] || printf '%s\n' "${help_message:-${0##*/} has no help text}"
            [[ -n $_po_passes_on ]] || exit 0
            pass_on+=(--help)
            shift
            continue ;;
        --*=*) _po_name=${1%%=*}; _po_value=${1#*=} ;;
        --?*)
            _po_name=$1
            [[ $# -gt 1 ]] || _po_fail "option $1 needs a value"
            ! _po_is_option "$2" || _po_fail \
                "option $1 needs a value, but '$2' follows; write $1=$2 if that is the value"
            _po_value=$2
            shift ;;
        *) break ;;
    esac
    shift
    if [[ $_po_name == --config ]]; then
        _po_configs+=("$_po_value")
    else
        _po_names+=("$_po_name")
        _po_values+=("$_po_value")
    fi
done
# _po_options FROM TO: sets the options of the command line from one place to before another.
_po_options() {
    local _po_index _po_long
    for ((_po_index = $1; _po_index < $2; _po_index++)); do
        _po_long=${_po_names[_po_index]#--}
        _po_set "${_po_long//-/_}" "${_po_values[_po_index]}" "${_po_names[_po_index]}"
    done
}
_po_options 0 "$_po_defaults"
for _po_value in ${_po_configs[@]+"${_po_configs[@]}"}; do
    _po_config "$_po_value"
done
_po_options "$_po_defaults" "${#_po_names[@]}"
unset _po_names _po_values _po_configs _po_name _po_value _po_defaults _po_passes_on _po_script
unset -f _po_fail _po_own _po_is_option _po_set _po_config _po_closing _po_options
