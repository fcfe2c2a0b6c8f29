#!/usr/bin/env bash
# A run on a slice of TPU VMs, by gcloud.
#
#   launch/tpu.sh create --spot yes          asks for the slice and waits until it is there
#   launch/tpu.sh setup                      every worker: the code, its packages, the bucket at ~/runs
#   launch/tpu.sh run -- python -m mmcot_jax.main --config configs/m2m.py --workdir runs/m2m-7b
#   launch/tpu.sh logs --worker 1            follows what a worker prints
#   launch/tpu.sh watch -- python -m ...     all of it, and again after every preemption, to the end
#   launch/tpu.sh fetch --to DIR -- ... --workdir runs/m2m-7b
#   launch/tpu.sh stop | delete
#
# Every option is also read from the environment, by its name in capitals: PROJECT, ZONE, NAME, TYPE
# (v5litepod-16), RUNTIME (the VMs' software; follows from TYPE), SPOT, REPO and BRANCH (of this
# code), BUCKET (where ~/runs lies, shared by all workers), WORKER, TO. --dry-run prints the commands.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

: "${PROJECT=}" "${ZONE=}" "${NAME=}" "${TYPE=}" "${RUNTIME=}" "${SPOT=}" "${REPO=}" "${BRANCH=}"
: "${BUCKET=}" "${WORKER=0}" "${TO=}"
ours='^[^ ]*python[^ ]* -m mmcot_jax' # its processes on a worker, not the shell around them

main() {
  local command=${1:-}
  [[ $command ]] || fail "say what to do: create, setup, run, logs, watch, fetch, stop or delete"
  shift
  parse "PROJECT ZONE NAME TYPE RUNTIME SPOT REPO BRANCH BUCKET WORKER TO" "$@"
  need PROJECT ZONE NAME
  place=(--project="$PROJECT" --zone="$ZONE")
  case $command in
    create | setup | run | logs | watch | fetch | stop | delete) "do_$command" ;;
    *) fail "there is no $command: say create, setup, run, logs, watch, fetch, stop or delete" ;;
  esac
}

on() { # on WORKER COMMAND: in the home of one worker, or of all
  run gcloud compute tpus tpu-vm ssh "$NAME" "${place[@]}" --worker="$1" --command="$2"
}

do_create() {
  need TYPE
  local state spot=()
  [[ ! $SPOT ]] || spot=(--spot)
  [[ $RUNTIME ]] || RUNTIME=$(runtime)
  run gcloud compute tpus queued-resources create "$NAME" "${place[@]}" --node-id="$NAME" \
    --accelerator-type="$TYPE" --runtime-version="$RUNTIME" "${spot[@]}"
  while true; do
    ask state ACTIVE gcloud compute tpus queued-resources describe "$NAME" "${place[@]}" \
      --format='value(state.state)'
    case $state in
      ACTIVE) return ;;
      FAILED | SUSPENDED) fail "the slice $NAME is $state: delete it, and create it again" ;;
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
  need REPO BRANCH BUCKET
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
  ((${#words[@]})) || fail "say what to run: -- python -m mmcot_jax.main --config ... --workdir runs/..."
  local command
  printf -v command %q "PATH=\$PWD/.venv/bin:\$PATH $(quoted); echo \$? > ~/status"
  on all "cd mmcot_jax; rm -f ~/status; nohup setsid bash -c $command > ~/log 2>&1 < /dev/null &"
}

do_logs() {
  on "$WORKER" "tail -n 100 -F log"
}

do_stop() { # as a preemption does: it is saved first
  on all "pkill -TERM -f '$ours' || true"
}

do_watch() {
  local state end folder
  folder=$(workdir)
  [[ $folder ]] || fail "watch needs the run: -- python -m mmcot_jax.main ... --workdir runs/..."
  need TYPE REPO BRANCH BUCKET
  printf -v folder %q "mmcot_jax/$folder/finished"
  while true; do
    ask state PREEMPTED gcloud compute tpus tpu-vm describe "$NAME" "${place[@]}" \
      --format='value(state)'
    if [[ $state != READY ]]; then
      [[ ! $state ]] || do_delete
      do_create
      do_setup
      do_run
    fi
    pause 60
    ask end finished gcloud compute tpus tpu-vm ssh "$NAME" "${place[@]}" --worker=0 --command="
if test -e $folder; then echo finished
elif pgrep -f '$ours' > /dev/null; then echo running
else cat status; fi"
    case $end in
      finished) return ;;
      2) fail "the run refuses its input: $0 logs shows why" ;;
      [0-9]*)
        on all "pkill -KILL -f '$ours' || true"
        do_run
        ;;
    esac
  done
}

do_fetch() {
  need BUCKET TO
  fetch "$BUCKET" "$TO"
}

do_delete() {
  run gcloud compute tpus queued-resources delete "$NAME" "${place[@]}" --force --quiet
}

main "$@"
