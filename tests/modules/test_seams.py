"""What the next models need of the update step: memories, views with random numbers, several players from one pass."""

from collections import Counter
from dataclasses import dataclass
from functools import partial

import pytest
import torch
from invariances import assert_invariant, fit, seeded
from torch import nn
from torch.nn import functional as F

from lit_gen import GAN, VAE
from lit_gen.distributions import OptimalSigmaGaussian
from lit_gen.losses import R1, Hinge
from lit_gen.modules import Draw, GenerativeModule, Memory, Player, View
from lit_gen.networks import MLPDecoder, MLPDiscriminator, MLPEncoder, MLPGenerator
from lit_gen.optimizers import GANAdam
from lit_gen.training.means import BatchMeans

SHAPE = (1, 8, 8)
MLP = {
    "latent_dim": 4,
    "generator": partial(MLPGenerator, width=16, depth=1, norm="none"),
    "discriminator": partial(MLPDiscriminator, width=16, depth=1),
    "ema_half_life": 200,
}
PARTS = {"generator_accumulate": 2, "discriminator_accumulate": 2}


class MeanScores(Memory):
    """Running means of the discriminator's scores, of real and of generated images."""

    def __init__(self):
        super().__init__()
        for name in ("real", "fake"):
            self.register_buffer(name, torch.zeros(()))

    def tell(self, values):
        for name in ("real", "fake"):
            getattr(self, name).lerp_(values[f"{name}_score"].to(self.real.dtype), 0.1)


@dataclass(frozen=True)
class LeCamHinge(Hinge):
    """Hinge with a pull of each half towards the running mean of the other (Tseng et al. 2021, arXiv:2104.03310)."""

    weight: float = 0.3

    def memory(self):
        return MeanScores()

    def generator(self, fake_scores, real_scores=None, *, memory):
        return super().generator(fake_scores) + 0.1 * (fake_scores - memory.real).square().mean()

    def discriminator(self, real_scores, fake_scores, memory):
        pull = (real_scores - memory.fake).square().mean() + (memory.real - fake_scores).square().mean()
        return super().discriminator(real_scores, fake_scores) + self.weight * pull


def le_cam(**parts):
    return GAN(SHAPE, loss=LeCamHinge(), **MLP, **parts)


class Contrast(View):
    """Each image with a contrast and a brightness of its own."""

    def numbers(self, packed, random, images_seen):
        return random.uniform(len(packed), 2).to(packed) - 0.5

    def __call__(self, packed, numbers):
        contrast, brightness = numbers.reshape(-1, 2, 1, 1, 1).unbind(1)
        return packed * (1 + contrast) + brightness


def contrast(**parts):
    module = GAN(SHAPE, penalty=R1(weight=0.5), **MLP, **parts)
    module.view = Contrast()
    return module


@dataclass(frozen=True)
class VAEGANDraw(Draw):
    x: torch.Tensor
    epsilon: torch.Tensor
    z: torch.Tensor


class VAEGAN(GenerativeModule):
    """A decoder that is a VAE's and a GAN's generator in one pass (Larsen et al. 2016, arXiv:1512.09300)."""

    def __init__(self, image_shape, accumulate=1, optimizer=GANAdam):
        super().__init__(image_shape, 200)
        self.encoder = MLPEncoder(image_shape, 4, width=16, depth=1)
        self.decoder = MLPDecoder(image_shape, 4, width=16, depth=1)
        self.discriminator = MLPDiscriminator(image_shape, width=16, depth=1)
        self.names = ("discriminator", "encoder", "decoder")
        players = [Player(name, (name,), optimizer, accumulate=accumulate) for name in self.names]
        self.define(players, averaged=["decoder"])

    def training_step(self, batch, batch_idx):
        x = batch[0].to(self.dtype)
        draw = VAEGANDraw(x, self.random.normal(len(x), 4).to(x), self.random.normal(len(x), 4).to(x))
        self.update(self.names, self.losses, draw)

    def losses(self, draw):
        mean, log_scale = self.encoder(draw.x)
        made = self.decoder(torch.cat([mean + log_scale.exp() * draw.epsilon, draw.z])).tanh()
        real, rebuilt, fake = self.discriminator(torch.cat([draw.x, made])).split(len(draw))
        error = (made[: len(draw)] - draw.x).square().flatten(1).sum(1).mean()
        kl = 0.5 * (mean.square() + (2 * log_scale).exp() - 1 - 2 * log_scale).sum(1).mean()
        gain = self.batch_mean(error.sqrt()) / (1 + self.batch_mean(kl))  # of means, no mean over samples itself
        losses = {
            "discriminator": F.softplus(-real).mean() + F.softplus(rebuilt).mean() + F.softplus(fake).mean(),
            "encoder": kl + error,
            "decoder": error + gain * (F.softplus(-rebuilt).mean() + F.softplus(-fake).mean()),
        }
        return losses, {"kl": kl, "error": error}


def vae_gan(accumulate=1):
    return VAEGAN(SHAPE, accumulate)


@pytest.mark.parametrize(
    ("make", "parts"),
    [(le_cam, PARTS), (contrast, PARTS), (vae_gan, {"accumulate": 2})],
    ids=["memory", "view", "three players"],
)
def test_the_four_invariances(make, parts, assert_same, tmp_path):
    assert_invariant(make, parts, assert_same, tmp_path)


def test_a_memory_is_told_once_after_each_update_that_was_made():
    seen, module = [], seeded(le_cam)
    tell = module.memories["loss"].tell
    module.memories["loss"].tell = lambda values: (seen.append((module.updates["discriminator"], values)), tell(values))
    fit(module, max_steps=5)
    assert [count for count, _ in seen] == [1, 2, 3, 4, 5]
    expected = 0.0
    for _, values in seen:
        expected = 0.9 * expected + 0.1 * values["real_score"].item()
    assert module.memories["loss"].real.item() == pytest.approx(expected, rel=1e-5)
    assert "memories.loss.real" in module.state_dict()


def test_options_without_a_memory_leave_no_trace():
    assert not any(key.startswith("memories") for key in GAN(SHAPE, penalty=R1(), **MLP).state_dict())


def test_all_players_of_one_pass_step_from_gradients_at_the_same_weights():
    """One step of plain PyTorch, in which every loss is differentiated in its player's weights before any moves."""
    make = partial(VAEGAN, SHAPE, optimizer=partial(torch.optim.SGD, lr=0.01))
    module, oracle, seen = seeded(make), seeded(make).double(), []

    class Watched(VAEGAN):
        def losses(self, draw):
            seen.append(draw)
            return super().losses(draw)

    module.__class__ = Watched
    fit(module, max_steps=1, precision="64-true")
    losses, _ = oracle.losses(seen[0])
    moves = {
        name: torch.autograd.grad(losses[name], list(getattr(oracle, name).parameters()), retain_graph=True)
        for name in oracle.names
    }
    for name, gradients in moves.items():
        for ours, old, gradient in zip(
            getattr(module, name).parameters(), getattr(oracle, name).parameters(), gradients, strict=True
        ):
            torch.testing.assert_close(ours, old - 0.01 * gradient, rtol=1e-12, atol=1e-12)


def test_one_pass_serves_all_players():
    module, rows = seeded(vae_gan), Counter()
    for name in module.names:
        network = module.get_submodule(name)
        network.register_forward_hook(lambda _, inputs, __, name=name: rows.update({name: len(inputs[0])}))
    fit(module, max_steps=2)
    assert rows == {"encoder": 2 * 32, "decoder": 2 * 64, "discriminator": 2 * 96}
    assert module.updates == dict.fromkeys(module.names, 2)
    assert module.images_seen == 64


def test_a_mean_over_parts_is_known_to_the_first_of_them_and_leaves_no_trace():
    norm = nn.BatchNorm1d(2)
    x = torch.arange(22.0).reshape(11, 2)
    means, seen = BatchMeans(), []

    def objective(draw):
        y = norm(draw.x)
        seen.append((len(draw), means(draw.x.mean()), means(y.detach().square().mean() * 0 + draw.x.square().mean())))
        return torch.rand(())

    torch.manual_seed(1)
    drawn = [value for _, value in means.passes(Rows(x), 3, objective, [norm])]
    assert [rows for rows, *_ in seen] == [4, 4, 3]
    for _, first, second in seen:
        torch.testing.assert_close(first, x.mean())
        torch.testing.assert_close(second, x.square().mean())
    assert int(norm.num_batches_tracked) == len(drawn) == 3
    torch.manual_seed(1)
    assert torch.equal(torch.stack(drawn), torch.rand(3))


@dataclass(frozen=True)
class Rows(Draw):
    x: torch.Tensor


def sigma_vae(accumulate=1):
    networks = {"encoder": partial(MLPEncoder, width=16, depth=1), "decoder": partial(MLPDecoder, width=16, depth=1)}
    return VAE(SHAPE, 4, likelihood=OptimalSigmaGaussian, ema_half_life=200, accumulate=accumulate, **networks)


def test_a_likelihood_that_is_one_of_the_whole_batch(assert_same, tmp_path):
    """Its σ is that of all parts and processes, and its running mean moves once an update."""
    assert_invariant(sigma_vae, {"accumulate": 4}, assert_same, tmp_path)
