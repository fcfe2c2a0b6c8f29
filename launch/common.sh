# What tpu.sh and jobset.sh share: options, commands that are run or only printed.
# shellcheck shell=bash

dry_run=
words=() # what follows --: the command for the workers

fail() {
  printf 'error: %s\n' "$1" >&2
  exit 2
}

# Options, `--zone us-west4-a` or `--zone=us-west4-a`, over the environment's ZONE, into ZONE.
# $1: the names there are; then the command line.
parse() {
  local known=$1 name
  shift
  while (($#)); do
    case $1 in
      --) words=("${@:2}") && return ;;
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

# That each of these is set.
need() {
  local name missing=()
  for name in "$@"; do
    [[ -n ${!name:-} ]] || missing+=("$name")
  done
  ((${#missing[@]} == 0)) || fail "give$(flags "${missing[*]}"), or set ${missing[*]} in the environment"
}

show() {
  printf '%q ' "$@" && printf '\n'
}

# Runs a command; with --dry-run prints it.
run() {
  if [[ $dry_run ]]; then show "$@"; else "$@"; fi
}

# Runs a command for what it prints, into the variable $1; with --dry-run prints the command, and
# goes on as if it had said $2.
ask() {
  local into=$1 expected=$2 said
  shift 2
  if [[ $dry_run ]]; then
    show "$@"
    said=$expected
  else
    said=$("$@") || said=
  fi
  printf -v "$into" '%s' "$said"
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

# The folder that the workers' command names as its --workdir.
workdir() {
  local i
  for ((i = 0; i < ${#words[@]}; i++)); do
    case ${words[i]} in
      --workdir) printf '%s' "${words[i + 1]:-}" && return ;;
      --workdir=*) printf '%s' "${words[i]#*=}" && return ;;
    esac
  done
}

# The workers' command as a line of shell.
quoted() {
  printf '%q ' "${words[@]}"
}
