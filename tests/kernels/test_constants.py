"""Constants of PyTorch's functions are there before the functions are used."""

import subprocess
import sys

import pytest

FAULTS = """
import resource, sys, torch
from lit_gen.kernels import load_constants
if sys.argv[1] == "load":
    load_constants()
function, dtype = getattr(torch, sys.argv[2]), getattr(torch, sys.argv[3])
ordinary, special = torch.rand(4096, dtype=dtype) + 0.1, torch.tensor([-0.0, torch.inf], dtype=dtype).repeat(2048)
for _ in range(20):  # the code's own pages, and memory for results
    function(ordinary)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
function(special)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.parametrize("function", ["log1p", "expm1"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_no_page_is_missing_once_the_constants_are_loaded(function, dtype):
    loaded, left = (
        int(
            subprocess.run(
                [sys.executable, "-c", FAULTS, mode, function, dtype], capture_output=True, check=True
            ).stdout
        )
        for mode in ("load", "leave")
    )
    if left == 0:
        pytest.skip("on this processor, or in this build of PyTorch, they are beside others")
    assert loaded == 0


def test_they_are_loaded_with_the_first_model():
    code = """
import torch, lit_gen.models.base as base
asked = []
base.load_constants = lambda: asked.append(True)
from lit_gen.models import VAE
from lit_gen.networks import MLPDecoder, MLPEncoder
VAE((1, 8, 8), 2, encoder=MLPEncoder, decoder=MLPDecoder)
assert asked
"""
    subprocess.run([sys.executable, "-c", code], check=True)
