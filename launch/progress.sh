#!/usr/bin/env bash
# Prints a number that grows with a run's lines of metrics and the steps of its checkpoints. A run
# that only repeats what it did before does not raise it.
#
#   launch/progress.sh runs/m2m
{
  wc -l <"$1/metrics.jsonl"
  ls "$1"/checkpoints/*/
} 2>/dev/null | awk '/^[0-9]+$/ { n += $1 } END { print n + 0 }'
