#!/usr/bin/env bash
# torch 2.14.1: log1p and expm1 take 14 times as long on AVX-512 until the process has once computed that of -0.0.
#
# Seen, one thread, float32, 2^20 numbers in (0, 1), an AMD EPYC (Zen 5): log1p 11 ns a number, and 0.5 to 0.8 after one call
# of log1p(-0.0) for as long as the process lives; expm1 11 ns, and 0.7 to 0.9. log1p(0.0), infinities, NaN or 2^20 other numbers
# change nothing; -0.0 in expm1 does the same for log1p. In float64 log1p and powers are the same, 20 and 1.3 ns, until they meet an infinity. With
# ATEN_CPU_CAPABILITY=avx2 log1p takes 2 to 3 ns from the start.
# Why: the vector function ends with the result for -0.0, loaded under a mask into those lanes that hold one, mostly none. The
# page of the library with that constant has not been read by anyone, so it isn't in the process's page table. A load of no
# lane isn't a fault, so the page stays away, but passing over it takes the processor some 170 ns, each time.
# Most would guess: that speed depends on the size of the input, and at most on special values in it, not on whether
# another tensor held a negative zero an hour ago.
# Why it matters: binary_cross_entropy_with_logits, logsigmoid, softplus and KL divergences with expm1 are made of them. In a
# VAE of two hidden layers on MNIST the cross-entropy of the pixels alone is a fifth of a training step.
# Remedy: torch.log1p(torch.full((32,), -0.0)) and likewise expm1 at the start of a process.
set -euo pipefail
if ! grep -qw avx512f /proc/cpuinfo; then
    echo "needs a processor with AVX-512"
    exit 0
fi
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet torch==2.14.1 numpy==2.4.6
cat > "$folder/run.py" <<'PYTHON'
import sys
import time

import torch

torch.set_num_threads(1)
x, name = torch.rand(1 << 20), sys.argv[1]
function = getattr(torch, name)


def nanoseconds():
    times = []
    for _ in range(6):
        start = time.process_time()
        function(x)
        times.append(time.process_time() - start)
    return 1e9 * min(times) / x.numel()


first = nanoseconds()
for other in (0.0, 1.0, -0.5, float("inf"), float("nan")):
    function(torch.full((64,), other))
still = nanoseconds()
function(torch.full((64,), -0.0))
after = nanoseconds()
print(f"torch {torch.__version__}, {name}: {first:.1f} ns a number, {still:.1f} after other values, {after:.2f} after -0.0")
sys.exit(0 if min(first, still) > 4 * after else "it has changed")
PYTHON
"$folder/env/bin/python" "$folder/run.py" log1p
"$folder/env/bin/python" "$folder/run.py" expm1
