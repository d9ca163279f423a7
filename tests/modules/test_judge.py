"""The discriminator as losses, penalties and monitors meet it."""

from functools import partial

import pytest
import torch

from lit_gen.losses import Hinge, RelativisticAverage
from lit_gen.modules import Judge
from lit_gen.networks import MLPDiscriminator, PatchGAN

SHAPE = (1, 8, 8)
PLAIN = partial(MLPDiscriminator, width=8)
DISCRIMINATORS = {
    "plain": PLAIN(SHAPE),
    "batch norm": PLAIN(SHAPE, norm="batch").eval(),  # two passes, though its statistics stand
    "labels": PLAIN(SHAPE, num_classes=3, condition="projection"),
    "classes": PLAIN(SHAPE, num_classes=3, condition="auxiliary"),
    "patches": PatchGAN(SHAPE, width=4),
}


@pytest.mark.parametrize("name", DISCRIMINATORS)
def test_both_are_the_scores_of_each(name):
    torch.manual_seed(0)
    network, real, fake = DISCRIMINATORS[name], torch.randn(3, *SHAPE), torch.randn(3, *SHAPE)
    y = torch.tensor([0, 2, 1]) if name in ("labels", "classes") else None
    judge = Judge(network, y, classifies=name == "classes")
    scores = judge.both(real, fake)
    arguments = () if y is None else (y,)
    torch.testing.assert_close(scores.real, network(real, *arguments))
    torch.testing.assert_close(scores.fake, network(fake, *arguments))
    torch.testing.assert_close(judge(real), scores.real)
    assert (scores.classes is not None) == (name == "classes")
    if scores.classes is not None:
        torch.testing.assert_close(scores.classes, torch.cat([network.classify(x)[1] for x in (real, fake)]))


@pytest.mark.parametrize("name", ["plain", "batch norm", "patches"])
def test_batches_of_two_sizes_are_told_apart_at_their_border(name):
    torch.manual_seed(0)
    network, real, fake = DISCRIMINATORS[name], torch.randn(3, *SHAPE), torch.randn(5, *SHAPE)
    scores = Judge(network).both(real, fake)
    torch.testing.assert_close(scores.real, network(real))
    torch.testing.assert_close(scores.fake, network(fake))
    loss, _ = Judge(network).generator_loss(RelativisticAverage(), fake, real)
    torch.testing.assert_close(loss, RelativisticAverage().generator(network(fake), network(real)))
    loss, _ = Judge(network).generator_loss(Hinge(), fake, None)
    torch.testing.assert_close(loss, -network(fake).mean())
