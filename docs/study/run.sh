#!/usr/bin/env bash
# Runs the published study, or goes on with it: fold by fold over all four data sets, so that every modality
# is covered from the first fold on. Killed and started again, it skips what is finished.
#
# Usage: BUS_BRA=… BUSI=… JSRT=… SHENZHEN=… docs/study/run.sh [more options of kerasunet study]
#   each variable names the folder of a data set; a set whose variable is not set is left out.
set -euo pipefail
cd "$(dirname "$0")/../.."

study() { # NAME FOLDER FOLD [options]
    local name=$1 folder=$2 fold=$3
    shift 3
    [ -n "$folder" ] || return 0
    ${PYTHON:-python} -m kerasunet study --data "$folder" --output "docs/study/$name" --only-folds "$fold" \
        --strategies none scratch contracting expanding 'shallow:*' 'deep:*' 'outer:*' 'inner:*' all auto auto:search \
        --train-sizes 20 80 --workers "${WORKERS:-2}" --no-estimate --no-report "$@"
}

for fold in 0 1 2 3 4; do
    study bus_bra "${BUS_BRA:-}" "$fold" --division 5-fold "$@"
    study jsrt "${JSRT:-}" "$fold" "$@"
    study busi "${BUSI:-}" "$fold" --labels benign malignant "$@"
    study shenzhen "${SHENZHEN:-}" "$fold" "$@"
done
