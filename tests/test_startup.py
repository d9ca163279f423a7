"""What a run imports: libraries that only some of them use must not cost the others their start-up."""

import subprocess
import sys

import numpy as np

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
