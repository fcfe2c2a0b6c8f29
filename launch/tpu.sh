#!/usr/bin/env bash
# Runs a command on a slice of TPU VMs, through gcloud.
#
#   launch/tpu.sh create --spot yes          requests the slice and waits until it is ready
#   launch/tpu.sh setup                      on every worker: code, packages, the bucket at ~/runs
#   launch/tpu.sh run -- python -m mmcot_jax.main --config configs/m2m.py --workdir runs/m2m-7b
#   launch/tpu.sh logs --worker 1            follows a worker's output
#   launch/tpu.sh watch -- python -m ...     all of it, again after preemptions, until it finishes;
#                                            after failures too, at most RETRIES (5) times in a row
#                                            without a new checkpoint or line of metrics
#   launch/tpu.sh fetch --to DIR -- ... --workdir runs/m2m-7b
#   launch/tpu.sh stop | delete
#
# Every option may be given in the environment, by its name in capitals: PROJECT, ZONE, NAME, TYPE
# (v5litepod-16), RUNTIME (the VMs' software; by default from TYPE), SPOT (yes or no), REPO and BRANCH
# (of this code), BUCKET (mounted at ~/runs of all workers), WORKER, RETRIES, TO. --dry-run prints the
# commands.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

: "${PROJECT=}" "${ZONE=}" "${NAME=}" "${TYPE=}" "${RUNTIME=}" "${SPOT=}" "${REPO=}" "${BRANCH=}"
: "${BUCKET=}" "${WORKER=0}" "${RETRIES=5}" "${TO=}"
run_pattern='^[^ ]*python[^ ]* -m mmcot_jax' # the run's processes, not the shell around them

main() {
  local command=${1:-}
  [[ $command ]] || fail "give a command: create, setup, run, logs, watch, fetch, stop or delete"
  shift
  parse "PROJECT ZONE NAME TYPE RUNTIME SPOT REPO BRANCH BUCKET WORKER RETRIES TO" "$@"
  require PROJECT ZONE NAME
  yes_or_no SPOT
  numbers RETRIES
  location=(--project="$PROJECT" --zone="$ZONE")
  case $command in
    create | setup | run | logs | watch | fetch | stop | delete) "do_$command" ;;
    *) fail "there is no $command; choose create, setup, run, logs, watch, fetch, stop or delete" ;;
  esac
}

on() { # on WORKER COMMAND: runs it in the home of one worker, or of all
  run gcloud compute tpus tpu-vm ssh "$NAME" "${location[@]}" --worker="$1" --command="$2"
}

do_create() {
  require TYPE
  local state spot=()
  [[ ! $SPOT ]] || spot=(--spot)
  [[ $RUNTIME ]] || RUNTIME=$(runtime)
  run gcloud compute tpus queued-resources create "$NAME" "${location[@]}" --node-id="$NAME" \
    --accelerator-type="$TYPE" --runtime-version="$RUNTIME" "${spot[@]}"
  while true; do
    capture state ACTIVE gcloud compute tpus queued-resources describe "$NAME" "${location[@]}" \
      --format='value(state.state)'
    case $state in
      ACTIVE) return ;;
      FAILED | SUSPENDED) fail "the slice $NAME is $state: delete it and create it again" ;;
    esac
    pause 30
  done
}

runtime() {
  case $TYPE in
    v5litepod-*) echo v2-alpha-tpuv5-lite ;;
    v5p-*) echo v2-alpha-tpuv5 ;;
    v6e-*) echo v2-alpha-tpuv6e ;;
    v4-*) echo tpu-ubuntu2204-base ;;
    *) fail "no runtime is known for $TYPE: give --runtime" ;;
  esac
}

do_setup() {
  require REPO BRANCH BUCKET
  local repo branch bucket
  printf -v repo %q "$REPO"
  printf -v branch %q "$BRANCH"
  printf -v bucket %q "$BUCKET"
  on all "set -eu
rm -rf mmcot_jax
git clone --quiet --depth=1 --branch=$branch $repo mmcot_jax
command -v gcsfuse >/dev/null || {
  key=/usr/share/keyrings/cloud.google.asc apt=https://packages.cloud.google.com/apt
  curl -fsS \$apt/doc/apt-key.gpg | sudo tee \$key >/dev/null
  echo \"deb [signed-by=\$key] \$apt gcsfuse-\$(lsb_release -cs) main\" |
    sudo tee /etc/apt/sources.list.d/gcsfuse.list >/dev/null
  sudo apt-get -qq update && sudo apt-get -qq install -y gcsfuse
}
mkdir -p runs
mountpoint -q runs || gcsfuse --implicit-dirs $bucket runs
ln -sfn ~/runs mmcot_jax/runs
command -v .local/bin/uv >/dev/null || curl -fsSL https://astral.sh/uv/install.sh | sh
cd mmcot_jax && ~/.local/bin/uv venv --quiet --python=3.12 && ~/.local/bin/uv pip install --quiet -e '.[tpu]'"
}

do_run() {
  ((${#worker_command[@]})) || fail "give the command to run: -- python -m mmcot_jax.main --config ... --workdir runs/..."
  local command
  printf -v command %q "PATH=\$PWD/.venv/bin:\$PATH $(quoted); echo \$? > ~/status"
  on all "cd mmcot_jax; rm -f ~/status; nohup setsid bash -c $command > ~/log 2>&1 < /dev/null &"
}

do_logs() {
  on "$WORKER" "tail -n 100 -F log"
}

do_stop() { # as a preemption does: the run saves a checkpoint first
  on all "pkill -TERM -f '$run_pattern' || true"
}

do_watch() {
  local state restart='' report end progressed line best=0 failures=0 seconds folder
  folder=$(workdir)
  [[ $folder ]] || fail "watch needs the run: -- python -m mmcot_jax.main ... --workdir runs/..."
  require TYPE REPO BRANCH BUCKET
  printf -v folder %q "$folder"
  while true; do
    capture state PREEMPTED gcloud compute tpus tpu-vm describe "$NAME" "${location[@]}" \
      --format='value(state)'
    if [[ $state != READY ]]; then
      say "the slice $NAME is ${state:-not there}: it is created${state:+ again}"
      [[ ! $state ]] || do_delete
      do_create
      do_setup
      do_run
    elif [[ $restart ]]; then
      on all "pkill -KILL -f '$run_pattern' || true"
      do_run
    fi
    restart=
    pause 60
    capture report finished gcloud compute tpus tpu-vm ssh "$NAME" "${location[@]}" --worker=0 \
      --command="$(report "$folder")"
    { read -r end && read -r progressed && read -r line; } <<<"$report" || true
    [[ ${progressed:-} =~ ^[0-9]+$ ]] || progressed=0
    if ((progressed > best)); then
      best=$progressed failures=0
    fi
    case $end in
      finished) return ;;
      running) continue ;;
      2) fail "the run refuses its input: ${line:-see $0 logs}" ;;
      0) end="the run was stopped by a signal and has saved" ;;
      [0-9]*) end="the run failed with status $end: ${line:-no output}" ;;
      gone) end="the run is gone without a status, as after a reboot" ;;
      *) say "worker 0 does not answer" && continue ;;
    esac
    ((++failures <= RETRIES)) ||
      fail "$end. That is $failures times without a new checkpoint or line of metrics: see $0 logs"
    seconds=$((60 << (failures < 6 ? failures - 1 : 5))) # at most half an hour
    say "$end. It starts again in $seconds s ($failures of $RETRIES without progress)"
    pause "$((seconds - 60))" # and 60 s after the start
    restart=yes
  done
}

say() {
  printf '%(%F %T)T %s\n' -1 "$1" >&2
}

# The script that prints how a run is (finished, running, its status, gone), its progress, and its
# last error or last line.
report() {
  cat <<SH
if test -e mmcot_jax/$1/finished; then echo finished
elif pgrep -f '$run_pattern' > /dev/null; then echo running
else cat status 2> /dev/null || echo gone; fi
mmcot_jax/launch/progress.sh mmcot_jax/$1
{ grep -a '^[A-Za-z.]*[Ee]rror' log || tail -n 1 log; } 2> /dev/null | tail -n 1 | cut -c 1-300
SH
}

do_fetch() {
  require BUCKET TO
  fetch "$BUCKET" "$TO"
}

do_delete() {
  run gcloud compute tpus queued-resources delete "$NAME" "${location[@]}" --force --quiet
}

main "$@"
