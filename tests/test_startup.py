"""What a run imports: libraries that only some of them use must not cost the others their start-up."""

import subprocess
import sys

import numpy as np

import lit_gen

CODE = """
import sys
import torch, lightning.pytorch.cli
before = {name.partition(".")[0] for name in sys.modules}
from lit_gen.cli.app import main
main("fit --model VAE --data ArrayDataModule --data.path images.npz --trainer.max_steps 1".split())
print("imported:", *sorted({name.partition(".")[0] for name in sys.modules} - before))
"""


def test_a_run_imports_no_rarely_used_library(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (100, 8, 8), np.uint8)
    np.savez(tmp_path / "images.npz", images=images)
    done = subprocess.run([sys.executable, "-c", CODE], cwd=tmp_path, capture_output=True, text=True, check=True)
    imported = set(done.stdout.rpartition("imported:")[2].split())
    assert "lit_gen" in imported
    assert not imported & {"wandb", "sklearn", "matplotlib", "huggingface_hub", "torchvision", "scipy", "onnx"}


def test_processes_that_tests_start_import_the_library_under_test(tmp_path):
    command = [sys.executable, "-c", "import lit_gen, sys; sys.stdout.write(lit_gen.__file__)"]
    assert subprocess.run(command, cwd=tmp_path, capture_output=True, text=True).stdout == lit_gen.__file__
