"""Mistakes of the field that only the whole training step, or the way to a score, can show."""

from functools import partial

import lightning.pytorch as L
import torch
from test_update import build, fit

from lit_gen import GAN
from lit_gen.callbacks.samples import image_grid
from lit_gen.losses import R1
from lit_gen.metrics import load_extractor
from lit_gen.networks import MLPDiscriminator


def test_adam_steps_once_along_the_sum_of_loss_and_penalty():
    seen = []

    class Recorder(L.Callback):
        def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
            seen.append(batch[0].clone())

    adam = partial(torch.optim.Adam, lr=0.01, betas=(0.5, 0.9), eps=1e-3)
    module = build(GAN, penalty=R1(weight=50.0), discriminator_optimizer=adam)
    oracles = [build(GAN), build(GAN)]
    fit(module, steps=1, callbacks=[Recorder()])
    module.random.reseed(3, "train", 0)
    z, real = module.noise(32), seen[0]

    def terms(oracle):
        scores = [oracle.discriminator(real), oracle.discriminator(oracle.generator(z).detach())]
        x = real.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(oracle.discriminator(x).sum(), x, create_graph=True)
        loss = -torch.log(torch.sigmoid(scores[0])).mean() - torch.log(1 - torch.sigmoid(scores[1])).mean()
        return loss, 25.0 * gradient.flatten(1).square().sum(1).mean()

    together, apart = (oracle.discriminator for oracle in oracles)
    optimizer = adam(together.parameters())
    sum(terms(oracles[0])).backward()
    optimizer.step()
    optimizer = adam(apart.parameters())
    for term in (0, 1):
        optimizer.zero_grad()
        terms(oracles[1])[term].backward()
        optimizer.step()
    for a, b in zip(module.discriminator.parameters(), together.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)
    # The score's bias has no part in the penalty; all other weights tell the two ways apart.
    for a, c in list(zip(module.discriminator.parameters(), apart.parameters(), strict=True))[:-1]:
        assert (a - c).abs().max() > 1e-3


def test_what_an_image_scores_and_looks_like_does_not_depend_on_its_batch():
    digits = load_extractor("digits")
    images = torch.rand(4, 1, 8, 8, generator=torch.Generator().manual_seed(0)) - 0.5
    extremes = torch.cat([images, torch.full((1, 1, 8, 8), 100.0), torch.full((1, 1, 8, 8), -100.0)])
    alone = torch.cat([digits.extract(image[None])[0] for image in images])
    torch.testing.assert_close(digits.extract(extremes)[0][:4], alone)
    assert torch.equal(image_grid(extremes, columns=6)[:, :, :48], image_grid(images, columns=4)[:, :, :48])


def test_a_score_depends_on_one_image_and_points_too():
    for shape in ((2,), (3, 8, 8)):
        critic = MLPDiscriminator(shape, width=8)
        x = torch.randn(5, *shape)
        torch.testing.assert_close(critic(x), torch.cat([critic(sample[None]) for sample in x]))
