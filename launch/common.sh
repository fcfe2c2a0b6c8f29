# Shared by tpu.sh and jobset.sh: options, commands that are run or only printed.
# shellcheck shell=bash

dry_run=
worker_command=() # the arguments after --

fail() {
  printf 'error: %s\n' "$1" >&2
  exit 2
}

# Parses options: `--zone us-west4-a` or `--zone=us-west4-a` sets ZONE, over the environment's.
# $1: the known names; then the command line.
parse() {
  local known=$1 name
  shift
  while (($#)); do
    case $1 in
      --) worker_command=("${@:2}") && return ;;
      --dry-run) dry_run=yes && shift && continue ;;
      --*=*) set -- "${1%%=*}" "${1#*=}" "${@:2}" ;;
    esac
    name=${1#--}
    [[ $1 == --* && " $known " == *" ${name^^} "* ]] ||
      fail "there is no option $1; there are: --dry-run$(flags "$known")"
    (($# > 1)) || fail "$1 has no value"
    printf -v "${name^^}" '%s' "$2"
    shift 2
  done
}

flags() { # "PROJECT ZONE" -> " --project --zone"
  local name
  for name in $1; do
    printf ' --%s' "${name,,}"
  done
}

# Checks that each of these variables is set.
require() {
  local name missing=()
  for name in "$@"; do
    [[ -n ${!name:-} ]] || missing+=("$name")
  done
  ((${#missing[@]} == 0)) || fail "give$(flags "${missing[*]}"), or set ${missing[*]} in the environment"
}

# Checks that each of these variables says yes or no; no becomes nothing.
yes_or_no() {
  local name
  for name in "$@"; do
    case ${!name} in
      yes | true | 1) printf -v "$name" yes ;;
      no | false | 0 | "") printf -v "$name" "" ;;
      *) fail "--${name,,} is ${!name}: give yes or no" ;;
    esac
  done
}

# Checks that each of these variables is a whole number.
numbers() {
  local name
  for name in "$@"; do
    [[ ${!name} =~ ^[0-9]+$ ]] || fail "--${name,,} is ${!name}: give a whole number"
  done
}

show() {
  printf '%q ' "$@" && printf '\n'
}

# Runs a command; with --dry-run prints it.
run() {
  if [[ $dry_run ]]; then show "$@"; else "$@"; fi
}

# Runs a command and stores its output in the variable $1; with --dry-run prints the command and
# stores $2.
capture() {
  local variable=$1 expected=$2 output
  shift 2
  if [[ $dry_run ]]; then
    show "$@"
    output=$expected
  else
    output=$("$@") || output=
  fi
  printf -v "$variable" '%s' "$output"
}

pause() {
  [[ $dry_run ]] || sleep "$1"
}

# Copies the run's workdir from the bucket.
fetch() {
  local folder
  folder=$(workdir)
  [[ $folder ]] || fail "fetch needs the run's workdir: -- --workdir runs/..."
  run gcloud storage rsync --recursive "gs://$1/${folder#runs/}" "$2"
}

# The --workdir of the workers' command.
workdir() {
  local i
  for ((i = 0; i < ${#worker_command[@]}; i++)); do
    case ${worker_command[i]} in
      --workdir) printf '%s' "${worker_command[i + 1]:-}" && return ;;
      --workdir=*) printf '%s' "${worker_command[i]#*=}" && return ;;
    esac
  done
}

# The workers' command, quoted for a shell.
quoted() {
  printf '%q ' "${worker_command[@]}"
}
