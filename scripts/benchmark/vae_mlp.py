"""Training steps of two fully connected VAEs through the Trainer beside a loop of the same arithmetic.

`scripts/benchmark vae_mlp` calls it.
"""

import statistics
import tempfile
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import lightning.pytorch as L
import numpy as np
import torch
from lightning.pytorch.loggers import CSVLogger
from torch.nn import functional as F

from datamodules import ArrayDataModule
from lit_gen import VAE
from lit_gen.distributions import Bernoulli
from lit_gen.networks import MLPDecoder, MLPEncoder
from lit_gen.optimizers import VAEAdam
from measure import interleaved

STEPS, WARM_UP = 300, 30  # of a stretch, and before the clock starts


class Clock(L.Callback):
    """Processor seconds for a step, from the end of the warm-up to the last one."""

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        """Start or stop."""
        if trainer.global_step == WARM_UP:
            self.start = time.process_time()
        if trainer.global_step == WARM_UP + STEPS:
            self.seconds = (time.process_time() - self.start) / STEPS


@dataclass(frozen=True)
class Perceptrons:
    """A VAE of fully connected layers, and its batch."""

    width: int
    depth: int
    latent_dim: int
    batch: int
    binarization: str

    def __str__(self) -> str:
        layers = "-".join(map(str, (784, *[self.width] * self.depth, self.latent_dim)))
        return f"VAE {layers}, batch {self.batch}, binarisation: {self.binarization}"

    def module(self) -> VAE:
        """The VAE with initial weights of seed 0."""
        torch.manual_seed(0)
        size = {"width": self.width, "depth": self.depth}
        networks = {"encoder": partial(MLPEncoder, **size), "decoder": partial(MLPDecoder, **size)}
        likelihood = partial(Bernoulli, binarization=self.binarization)
        return VAE((1, 28, 28), self.latent_dim, **networks, likelihood=likelihood)


def vae_mlp(rounds: int) -> None:
    """Training steps of two VAEs, with Adam: Trainer against a loop of the same arithmetic, images in memory."""
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (20_000, 28, 28), np.uint8) * (generator.random((20_000, 28, 28)) < 0.2)
    with tempfile.TemporaryDirectory() as folder:
        np.savez(Path(folder) / "images.npz", images=images)
        for networks in (Perceptrons(400, 1, 20, 128, "none"), Perceptrons(200, 2, 50, 100, "dynamic")):
            sides = {
                "Trainer": partial(through_the_trainer, networks, folder),
                "loop": partial(by_hand, networks, images),
            }
            seconds = interleaved(sides, rounds)
            print(networks)
            for name, values in seconds.items():
                value = statistics.median(values)
                print(f"{name}: {1000 * value:.2f} ms a step, {1 / value:.0f} steps/s")
            # Turns that follow each other saw the same machine, whose speed may drift over the rounds.
            ratios = [loop / ours for ours, loop in zip(seconds["Trainer"], seconds["loop"], strict=True)]
            print(f"speed of the Trainer relative to the loop: {statistics.median(ratios):.2f}", flush=True)


def through_the_trainer(networks: Perceptrons, folder: str) -> float:
    """Seconds a step."""
    data = ArrayDataModule(f"{folder}/images.npz", batch_size=networks.batch, test_share=0)
    clock = Clock()
    trainer = L.Trainer(
        accelerator="cpu", max_steps=WARM_UP + STEPS, max_epochs=-1, limit_val_batches=0, logger=CSVLogger(folder),
        callbacks=[clock], enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(networks.module(), data)
    return clock.seconds


def by_hand(networks: Perceptrons, images: np.ndarray) -> float:
    """Seconds a step."""
    module = networks.module()
    encoder, decoder = module.encoder, module.decoder
    optimizer = VAEAdam([*encoder.parameters(), *decoder.parameters()])
    pixels = torch.from_numpy(images).unsqueeze(1)
    for step in range(WARM_UP + STEPS):
        if step == WARM_UP:
            start = time.process_time()
        x = pixels[torch.randint(len(pixels), (networks.batch,))].float().div_(255)
        if networks.binarization == "dynamic":
            x = (x > torch.rand_like(x)).float()
        mean, log_scale = encoder(x)
        logits = decoder(mean + log_scale.exp() * torch.randn_like(mean))
        divergence = 0.5 * (mean.square() + torch.expm1(2 * log_scale) - 2 * log_scale).sum(1).mean()
        loss = F.binary_cross_entropy_with_logits(logits, x, reduction="sum") / len(x) + divergence
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return (time.process_time() - start) / STEPS
