"""40 steps straight through equal 20 + 20 in a new process, bit for bit."""

import pytest
import torch

# 1,197 digits: 18 batches of 64 an epoch, so 20 steps end inside the second; 20 batches of 58, so they end an epoch.
PLACES = {"middle": 64, "end": 58}


@pytest.mark.parametrize("devices", [1, 2])
def test_resumed_run_is_the_uninterrupted_one(tmp_path, train, assert_same, devices):
    cases = [(f"{module}-{place}", module, size) for module in ("DCGAN", "VAE") for place, size in PLACES.items()]
    cases += [("PacGAN-middle", "PacGAN", 64), ("CycleGAN-middle", "CycleGAN", 64)]

    def jobs(part, steps, resume=False):
        return [
            {"name": f"{part}-{name}", "module": module, "batch_size": size, "max_steps": steps}
            | ({"ckpt_path": str(tmp_path / f"first-{name}/checkpoints/last.ckpt")} if resume else {})
            for name, module, size in cases
        ]

    train(tmp_path, devices, jobs("straight", 40) + jobs("first", 20))
    train(tmp_path, devices, jobs("second", 40, resume=True))
    for name, _, size in cases:
        for rank in range(devices):
            straight, second = (
                torch.load(tmp_path / f"{part}-{name}.rank{rank}.pt") for part in ("straight", "second")
            )
            first = torch.load(tmp_path / f"first-{name}.rank{rank}.pt")
            assert straight["counters"]["step"] == 40
            assert straight["counters"]["images_seen"] == 40 * size
            assert first["counters"]["step"] == 20
            assert_same(straight, second)
