#!/usr/bin/env bash
# Runs a command in a pod of jobset.sh, in the code's folder, and says by its status how to go on.
#
#   launch/pod.sh RETRIES WORKDIR python -m mmcot_jax.main ... --workdir WORKDIR
#
# 0: the run is finished. 75: it was preempted. 2: it refuses its input, or failed more than RETRIES
# times in a row without progress, which the first pod counts in WORKDIR.restarts. Any other: it
# failed. After a failure the first pod waits for 1, 2, then 4 minutes, and the others for it.
set -euo pipefail
retries=$1 folder=$2 count=$2.restarts
shift 2
first=$((${TPU_WORKER_ID:-0} == 0 && ${MEGASCALE_SLICE_ID:-0} == 0))
failures=0

if ((first)); then
  numbers=$(cat "$count" 2>/dev/null) || true
  [[ $numbers =~ ^[0-9]+\ -?[0-9]+\ [0-9]+$ ]] || numbers="0 -1 0" # none, or one that was cut short
  read -r failures best last <<<"$numbers"
  now=$("$(dirname "${BASH_SOURCE[0]}")/progress.sh" "$folder")
  if ((now > best)); then
    best=$now failures=0
  fi
  ((last == 0)) || ((failures += 1))
  if ((failures > retries)); then
    echo "error: status $last, $failures times without a new checkpoint or line of metrics" >&2
    rm "$count"
    exit 2
  fi
  mkdir -p "$(dirname "$folder")"
  echo "$failures $best 0" >"$count" # a pod that is killed leaves it: no failure
  if ((failures)); then
    trap 'exit 75' TERM
    sleep $((60 << (failures < 3 ? failures - 1 : 2))) &
    wait $!
  fi
fi

# forwards SIGTERM to the run and waits until it has saved
trap 'kill -TERM $!' TERM
"$@" &
run=$!
wait $run || true # a signal interrupts this
status=0
wait $run || status=$?
((!first)) || echo "$failures $best $status" >"$count"
[[ -e $folder/finished ]] || exit $((status ? status : 75))
rm -f "$count"
