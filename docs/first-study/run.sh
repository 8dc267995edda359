#!/usr/bin/env bash
# Runs the published study, or goes on with it: fold by fold, first over BUS-BRA and JSRT, so that both modalities
# are covered from the first fold on, then over BUSI and Shenzhen, and last auto:search, which costs several runs each.
# Killed and started again, it skips what is finished.
#
# Usage: BUS_BRA=… JSRT=… BUSI=… SHENZHEN=… docs/first-study/run.sh [more options of kerasunet study]
#   each variable names the folder of a data set; a set whose variable is not set is left out.
set -euo pipefail
cd "$(dirname "$0")/../.."

study() { # NAME FOLDER FOLD SIZE [options]
    local name=$1 folder=$2 fold=$3 size=$4
    shift 4
    [ -n "$folder" ] || return 0
    ${PYTHON:-python} -m kerasunet study --init natural --data "$folder" --output "docs/first-study/$name" \
        --only-folds "$fold" --train-sizes "$size" --workers "${WORKERS:-2}" --no-estimate --no-report \
        --strategies none scratch contracting expanding all 'shallow:*' 'deep:*' auto 'outer:*' 'inner:*' "$@"
}

for fold in 0 1 2 3 4; do
    for size in 80 20; do
        study bus_bra "${BUS_BRA:-}" "$fold" "$size" --division 5-fold "$@"
        study jsrt "${JSRT:-}" "$fold" "$size" "$@"
    done
done
for fold in 0 1 2 3 4; do
    for size in 80 20; do
        study busi "${BUSI:-}" "$fold" "$size" --labels benign malignant "$@"
        study shenzhen "${SHENZHEN:-}" "$fold" "$size" "$@"
    done
done
for fold in 0 1 2 3 4; do
    for size in 80 20; do
        study bus_bra "${BUS_BRA:-}" "$fold" "$size" --division 5-fold "$@" --strategies auto:search
        study jsrt "${JSRT:-}" "$fold" "$size" "$@" --strategies auto:search
    done
done
