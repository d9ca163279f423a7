"""A user's script that ``mypy --strict`` accepts; test_wheel.py has it checked against the installed package."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from my_models.data import BarsDataModule
from my_models.likelihood import Laplace
from my_models.loss import TotalVariation
from my_models.model import TopKGAN
from my_models.network import LowRankGenerator
from torch import Tensor, nn
from typing_extensions import assert_type

import lit_gen
from datamodules import DataModule, DigitsDataModule
from lit_gen import GAN, VAE, WGANGP, CycleGAN, GenerativeModule, HierarchicalVAE
from lit_gen.callbacks import Evaluate, RunCheckpoint, SampleGrid
from lit_gen.distributions import StandardNormal, kl_standard_normal
from lit_gen.losses import ELBO, R1, GradientPenalty, Hinge, LinearWarmUp, Penalty
from lit_gen.metrics import SCORES, FeatureMoments, frechet_distance, load_extractor
from lit_gen.modules import LatentVariableModel, Player
from lit_gen.networks import Discriminator, Encoder, Generator, Ladder, MLPDecoder, MLPDiscriminator, MLPEncoder
from lit_gen.optimizers import GANAdam

# In a notebook.
data = DigitsDataModule(batch_size=32)
vae = lit_gen.fit(VAE(data.image_shape, latent_dim=16), data, max_epochs=1, callbacks=[Evaluate()])
assert_type(vae, VAE)
assert_type(vae.sample(64), Tensor)
assert_type(vae.encode(vae.sample(2)), Tensor)
assert_type(lit_gen.evaluate(vae, data, scores=("fd",)), dict[str, float])

# Networks, objectives and likelihoods as factories and instances.
coders = partial(MLPEncoder, width=8), partial(MLPDecoder, width=8)
small = VAE((1, 8, 8), 4, *coders, Laplace, StandardNormal, objective=ELBO(beta=0.5, warm_up=LinearWarmUp(100)))
warm = VAE((1, 8, 8), 4, *coders, init_from="vae_digits", ema_half_life=1000)
gan = GAN((1, 8, 8), 4, discriminator=partial(MLPDiscriminator, width=8), loss=Hinge(), penalty=R1(0.1))
wgan = WGANGP((1, 8, 8), 4, penalty=GradientPenalty(weight=1.0), generator_optimizer=partial(GANAdam, lr=1e-4))
ladder = HierarchicalVAE((1, 8, 8), partial(Ladder, latent_dims=(4, 2), widths=(16, 8)))
own = TopKGAN((1, 8, 8), 4, generator=LowRankGenerator, loss=TotalVariation(), keep=0.5)
assert_type(own.generator, Generator)
assert_type(vae.encoder, Encoder)
assert_type(gan.score(gan.sample(2)), Tensor)
assert_type(CycleGAN((3, 8, 8)).translate(gan.sample(2)), Tensor)
assert_type(Hinge().generator(gan.score(gan.sample(2))), Tensor)
assert_type(kl_standard_normal(vae.sample(1), vae.sample(1)), Tensor)
assert_type(load_extractor("digits").image_shape, tuple[int, ...])
assert_type(frechet_distance(*(vae.sample(1).flatten(1) for _ in range(4))), Tensor)
modules: list[GenerativeModule] = [vae, gan, wgan, ladder, own, small, warm]
latent: list[LatentVariableModel] = [vae, gan, ladder]
sets: list[DataModule] = [data, BarsDataModule()]
others = (SampleGrid(), RunCheckpoint(), FeatureMoments(4), list(SCORES))

# Trained models.
lit_gen.save_pretrained(vae, "vae", {"data": "digits"})
assert_type(lit_gen.from_pretrained("vae"), GenerativeModule)
assert_type(lit_gen.from_pretrained("vae", kind=VAE), VAE)
assert_type(lit_gen.from_pretrained("vae", part="decoder"), nn.Module)
assert_type(lit_gen.list_pretrained(), dict[str, dict[str, Any]])


@dataclass(frozen=True)
class Bounded(Penalty):
    """Keeps scores small."""

    weight: float = 1.0

    def __call__(
        self, discriminator: Callable[[Tensor], Tensor], real: Tensor, fake: Tensor, epsilon: Tensor
    ) -> Tensor:
        """The mean square of the scores of data."""
        return self.weight * discriminator(real).square().mean()


class Score(Discriminator):
    """One layer."""

    def __init__(self, image_shape: tuple[int, ...], num_classes: int = 0):
        super().__init__(image_shape, num_classes)
        self.score = nn.LazyLinear(1)

    def forward(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        """Scores ``(N,)``."""
        scores: Tensor = self.score(x.flatten(1))
        return scores.squeeze(1)


class Autoencoder(GenerativeModule):
    """A training procedure from the ground up."""

    def __init__(self, image_shape: tuple[int, ...], ema_half_life: float | None = None, init_from: str | None = None):
        super().__init__(image_shape, ema_half_life)
        self.body = nn.Linear(64, 64)
        self.define([Player("body", ("body",), GANAdam)], averaged=["body"], init_from=init_from)

    def reconstruction(self, x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Squared errors."""
        loss = (self.body(x.flatten(1)) - x.flatten(1)).square().mean()
        return loss, {"error": loss}

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """One step."""
        self.update("body", self.reconstruction, batch[0])
