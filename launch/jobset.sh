#!/usr/bin/env bash
# Runs a command on TPU slices of a GKE cluster, as a JobSet: a job per slice, a pod per host.
#
#   launch/jobset.sh create                  a node pool: one slice
#   launch/jobset.sh manifest -- python -m mmcot_jax.main --config configs/m2m.py --workdir runs/m2m
#   launch/jobset.sh run -- ...              applies the manifest
#   launch/jobset.sh logs | fetch --to DIR -- --workdir runs/m2m | stop | delete
#
# Every option may be given in the environment, by its name in capitals: PROJECT, ZONE, CLUSTER,
# NAME, MACHINE (ct5lp-hightpu-4t), ACCELERATOR (tpu-v5-lite-podslice), TOPOLOGY (4x4), HOSTS (per
# slice), CHIPS (per host), SLICES, SPOT (yes or no), RESTARTS (in all), RETRIES (in a row, after
# failures without a new checkpoint or line of metrics), GRACE (seconds to save in), IMAGE (with Python
# and git), REPO and BRANCH (of this code), BUCKET (mounted at runs/), ACCOUNT (the service account
# that may write to it), TO. --dry-run prints the commands.
#
# A pod that ends without the run's file `finished` has failed, and the JobSet restarts all pods. So it
# does after a preemption, which ends a run with status 0. Status 2 ends the JobSet: the run refuses
# its input, or failed more than RETRIES times without progress: see pod.sh.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

: "${PROJECT=}" "${ZONE=}" "${CLUSTER=}" "${NAME=}" "${MACHINE=}" "${ACCELERATOR=}" "${TOPOLOGY=}"
: "${HOSTS=}" "${CHIPS=}" "${SLICES=1}" "${SPOT=}" "${RESTARTS=100}" "${RETRIES=5}" "${GRACE=600}"
: "${IMAGE=python:3.12}" "${REPO=}" "${BRANCH=}" "${BUCKET=}" "${ACCOUNT=}" "${TO=}"

main() {
  local command=${1:-}
  [[ $command ]] || fail "give a command: create, manifest, run, logs, fetch, stop or delete"
  shift
  parse "PROJECT ZONE CLUSTER NAME MACHINE ACCELERATOR TOPOLOGY HOSTS CHIPS SLICES SPOT RESTARTS RETRIES \
GRACE IMAGE REPO BRANCH BUCKET ACCOUNT TO" "$@"
  require NAME
  yes_or_no SPOT
  numbers SLICES RESTARTS RETRIES GRACE
  case $command in
    create | manifest | run | logs | fetch | stop | delete) "do_$command" ;;
    *) fail "there is no $command; choose create, manifest, run, logs, fetch, stop or delete" ;;
  esac
}

do_create() {
  require PROJECT ZONE CLUSTER MACHINE TOPOLOGY HOSTS
  local spot=()
  [[ ! $SPOT ]] || spot=(--spot)
  run gcloud container node-pools create "$NAME" --project="$PROJECT" --location="$ZONE" \
    --cluster="$CLUSTER" --machine-type="$MACHINE" --tpu-topology="$TOPOLOGY" \
    --num-nodes="$HOSTS" "${spot[@]}"
}

do_manifest() {
  require ACCELERATOR TOPOLOGY HOSTS CHIPS REPO BRANCH BUCKET ACCOUNT
  local folder selector=""
  folder=$(workdir)
  [[ $folder ]] || fail "give the command to run: -- python -m mmcot_jax.main --config ... --workdir runs/..."
  [[ ! $SPOT ]] || selector=', cloud.google.com/gke-spot: "true"'
  cat <<YAML
apiVersion: jobset.x-k8s.io/v1alpha2
kind: JobSet
metadata:
  name: $NAME
  annotations:
    alpha.jobset.sigs.k8s.io/exclusive-topology: cloud.google.com/gke-nodepool
spec:
  failurePolicy:
    maxRestarts: $RESTARTS
    rules:
      - {name: refused, action: FailJobSet, onJobFailureReasons: [PodFailurePolicy]}
  replicatedJobs:
    - name: slice
      replicas: $SLICES
      template:
        spec:
          completions: $HOSTS
          parallelism: $HOSTS
          backoffLimit: 0
          podFailurePolicy:
            rules:
              - {action: FailJob, onExitCodes: {containerName: main, operator: In, values: [2]}}
          template:
            metadata:
              annotations:
                gke-gcsfuse/volumes: "true"
            spec:
              serviceAccountName: $ACCOUNT
              restartPolicy: Never
              terminationGracePeriodSeconds: $GRACE
              nodeSelector:
                {cloud.google.com/gke-tpu-accelerator: $ACCELERATOR,
                cloud.google.com/gke-tpu-topology: $TOPOLOGY$selector}
              tolerations:
                - {key: google.com/tpu, operator: Exists}
                - {key: cloud.google.com/gke-spot, operator: Exists}
              containers:
                - name: main
                  image: $IMAGE
                  ports:
                    - containerPort: 8471 # between the slice's chips
                    - containerPort: 8482 # jax.distributed
                  resources:
                    limits: {google.com/tpu: $CHIPS}
                  volumeMounts:
                    - {name: runs, mountPath: /runs}
                  command: [bash, -c]
                  args:
                    - |
                      set -eu
                      git clone --quiet --depth=1 --branch=$(printf %q "$BRANCH") $(printf %q "$REPO") /code
                      cd /code && ln -s /runs runs && pip install --quiet -e '.[tpu]'
                      exec launch/pod.sh $RETRIES $(printf %q "$folder") $(quoted)
              volumes:
                - name: runs
                  csi:
                    driver: gcsfuse.csi.storage.gke.io
                    volumeAttributes: {bucketName: $BUCKET}
YAML
}

do_run() {
  local manifest
  manifest=$(do_manifest)
  if [[ $dry_run ]]; then
    printf 'kubectl apply --filename=- <<YAML\n%s\nYAML\n' "$manifest"
  else
    kubectl apply --filename=- <<<"$manifest"
  fi
}

do_logs() {
  run kubectl logs --follow --tail=100 --container=main \
    --selector="jobset.sigs.k8s.io/jobset-name=$NAME,jobset.sigs.k8s.io/job-index=0,batch.kubernetes.io/job-completion-index=0"
}

do_fetch() {
  require BUCKET TO
  fetch "$BUCKET" "$TO"
}

do_stop() {
  run kubectl delete jobset "$NAME"
}

do_delete() {
  require PROJECT ZONE CLUSTER
  run kubectl delete jobset "$NAME" --ignore-not-found
  run gcloud container node-pools delete "$NAME" --project="$PROJECT" --location="$ZONE" \
    --cluster="$CLUSTER" --quiet
}

main "$@"
