#!/bin/bash
# What a GPU does for this library, in one call of at most nine minutes: tests, steps, samples, scores, a profile.
#   scripts/gpu.sh wheels FOLDER                    where there is a network: the packages that a bare machine lacks
#   scripts/gpu.sh --wheels FOLDER --out RESULTS    on the machine with the GPU, which needs no network
#   scripts/gpu.sh --device cpu --small --out RESULTS    the same in miniature, on a CPU
# The logic is scripts/gpu; PYTHON names the interpreter that has torch.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
program="$here/gpu/__main__.py"
if [ "${1:-}" = wheels ]; then
    shift
    program="$here/gpu/packages.py"
fi
exec "${PYTHON:-python3}" "$program" "$@"
