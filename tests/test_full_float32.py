"""Scores' products keep their digits, and the way in which training's precision was set is left as it was."""

import subprocess
import sys

import pytest

SCRIPT = """
import torch
from lit_gen.precision import full_float32
{before}
backends = torch.backends.cuda.matmul, torch.backends.mkldnn.matmul
def told():
    try:
        return torch.get_float32_matmul_precision()
    except RuntimeError:
        return "mixed"
first = [backend.fp32_precision for backend in backends], told()
with full_float32():
    assert [backend.fp32_precision for backend in backends] == ["ieee", "ieee"]
after = [backend.fp32_precision for backend in backends], told()
assert first[1] == after[1], (first, after)
assert first[0][0] in (after[0][0], "none"), (first, after)
"""


@pytest.mark.parametrize(
    "before",
    [
        "",
        "torch.set_float32_matmul_precision('medium')",
        "torch.backends.cuda.matmul.allow_tf32 = True",
        "torch.backends.cuda.matmul.fp32_precision = 'tf32'",
        "torch.backends.cuda.matmul.fp32_precision = 'tf32'; torch.backends.mkldnn.matmul.fp32_precision = 'bf16'",
    ],
)
def test_precision_is_told_as_before(before):
    done = subprocess.run([sys.executable, "-c", SCRIPT.format(before=before)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
