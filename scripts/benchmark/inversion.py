"""Latents of a DCGAN's own samples by L-BFGS beside Adam in z: `scripts/benchmark inversion` calls it.

Adam is the custom (Abdal et al. 2019, arXiv:1904.03189): here with a learning rate of 0.1 from as many random starts,
for as many steps, of which the best is kept. CPU time of this process.
"""

import statistics
import time
from functools import partial

import torch
from torch import Tensor

import lit_gen
from lit_gen.latent_space import Search, invert
from lit_gen.latent_space.inversion import psnr
from lit_gen.models import LatentVariableModel
from measure import interleaved

MODEL = "wgan_gp_mnist"


def inversion(rounds: int, count: int = 32) -> None:
    """Print, of both sides, the share of images above 40 dB and the images a CPU second, medians over the rounds."""
    model = lit_gen.from_pretrained(MODEL, training=False)
    images = model.sample(count, generator=torch.Generator().manual_seed(1))
    searches = {
        "L-BFGS": lambda: invert(model, images).psnr,
        "Adam": lambda: adam(model, images, Search.starts, Search.steps),
    }
    shares = {}

    def speed(name: str) -> float:
        start = time.process_time()
        shares[name] = (searches[name]() > 40).double().mean().item()
        return count / (time.process_time() - start)

    speeds = interleaved({name: partial(speed, name) for name in searches}, rounds)
    for name, each in speeds.items():
        print(
            f"{name}, {count} samples of {MODEL}: {100 * shares[name]:.0f} % above 40 dB, "
            f"{statistics.median(each):.2f} images a CPU second"
        )


def adam(model: LatentVariableModel, images: Tensor, starts: int, steps: int) -> Tensor:
    """The PSNR ``(N,)`` of the best of each image's starts."""
    targets = images.repeat_interleave(starts, 0)
    z = torch.randn(len(targets), model.latent_dim, generator=torch.Generator().manual_seed(0)).requires_grad_(True)
    optimizer = torch.optim.Adam([z], lr=0.1)
    error = torch.zeros(len(targets))
    with model.evaluating():
        for _ in range(steps):
            error = (model.decode(z) - targets).square().flatten(1).mean(1)
            (z.grad,) = torch.autograd.grad(error.sum(), z)
            optimizer.step()
    return psnr(error.detach().view(-1, starts).amin(1))
