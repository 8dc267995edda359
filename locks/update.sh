#!/usr/bin/env bash
# Writes the lock files anew, for every platform and every Python from 3.11 on; lowest.txt is for Python 3.11.
# Usage: locks/update.sh [UV [--upgrade]]; without --upgrade, what is pinned stays, and only what is missing is added.
set -euo pipefail
cd "$(dirname "$0")/.."
uv=${1:-uv}
upgrade=${2:-}

pin() { # NAME [options]
    local name=$1
    shift
    "$uv" pip compile --quiet --no-header --python-version 3.11 "$@" setup.cfg --output-file "locks/$name.txt"
}

# The largest first: the others then have the same releases.
pin dev --universal $upgrade --generate-hashes --extra dev --constraint locks/limits.in
pin demo --universal --generate-hashes --extra demo --constraint locks/dev.txt
pin docs --universal --generate-hashes --extra docs --constraint locks/dev.txt
pin run --universal --generate-hashes --constraint locks/dev.txt
pin lowest --resolution lowest-direct $upgrade --extra dev --constraint locks/limits.in
