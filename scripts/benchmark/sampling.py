"""Samples of DCGAN and their Fréchet distance beside the forward passes alone: `scripts/benchmark sampling` calls it.

The real images' features are known, as they are from a run's second evaluation on. CPU time of this process.
"""

import statistics
from functools import partial

import torch

from lit_gen import GAN
from lit_gen.metrics import load_extractor
from lit_gen.metrics.passes import collect, samples_of
from lit_gen.metrics.scores import Comparison, compute_scores
from lit_gen.networks import DCGANDiscriminator, DCGANGenerator
from measure import cpu_seconds, interleaved

BATCH = 500  # of Evaluate


def sampling(rounds: int, count: int = 10_000) -> None:
    """Print medians over the rounds, in which both sides take turns, and their ratio."""
    torch.manual_seed(0)
    model = GAN((3, 32, 32), generator=DCGANGenerator, discriminator=DCGANDiscriminator).eval()
    extractor = load_extractor("cifar10")

    def features(seed: int) -> object:
        return collect(samples_of(model, extractor, count, seed, True), count, extractor).compute()

    real = features(seed=1)

    @torch.inference_mode()
    def passes() -> None:
        for _ in range(count // BATCH):
            extractor(model.network("generator")(torch.randn(BATCH, model.latent_dim)))

    def sampled_and_scored() -> None:
        compute_scores(["fd"], Comparison(features(seed=0), real))

    sides = {
        "samples and their Fréchet distance": partial(cpu_seconds, sampled_and_scored),
        "forward passes of generator and extractor": partial(cpu_seconds, passes),
    }
    seconds = interleaved(sides, rounds)
    medians = {name: statistics.median(each) for name, each in seconds.items()}
    for name, median in medians.items():
        print(f"{name}, {count:,} images: {median:.2f} s")
    whole, least = medians.values()
    print(f"ratio: {whole / least:.2f}")
