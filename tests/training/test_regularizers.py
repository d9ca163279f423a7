"""Terms against overfitting by hand, in a game, and layers that keep their weights."""

import dataclasses
from functools import partial

import pytest
import torch
from families import assert_bad_options_are_named, assert_is_a_frozen_value, unlisted
from invariances import fit, seeded
from lit_gen.modules.unrolled import UnrolledSGD
from torch.nn import functional as F

import lit_gen.modules as package
from lit_gen import GAN, from_pretrained, save_pretrained
from lit_gen.losses import SpectralNorm
from lit_gen.modules import Consistency, DiffAugment, LeCam, Regularizer
from lit_gen.networks import DCGANDiscriminator, DCGANGenerator, MLPDiscriminator, MLPGenerator
from lit_gen.training.player import Player

REGULARIZERS = [LeCam(), Consistency()]
SHAPE = (1, 8, 8)
MLP = {
    "latent_dim": 4,
    "generator": partial(MLPGenerator, width=16, depth=1, norm="none"),
    "discriminator": partial(MLPDiscriminator, width=16, depth=1),
}
DCGAN = {
    "latent_dim": 4,
    "generator": partial(DCGANGenerator, width=4),
    "discriminator": partial(DCGANDiscriminator, width=4),
    "ema_half_life": None,
}


def test_all_are_listed_and_values():
    assert not unlisted(package, Regularizer, REGULARIZERS)
    for regularizer in REGULARIZERS:
        assert_is_a_frozen_value(regularizer)
        assert_bad_options_are_named(regularizer)


def test_lecam_by_hand():
    """0.5 · [mean((3 − 1)², (5 − 1)²) + mean((0 − 4)², (2 − 4)²)] with α_R = 4 and α_F = 1."""
    lecam = LeCam(weight=0.5, decay=0.75)
    memory = lecam.memory()
    scores = torch.tensor([3.0, 5.0], requires_grad=True), torch.tensor([0.0, 2.0])
    assert lecam(scores, memory=memory).item() == 0  # nothing is known yet
    memory.tell({"real_score": torch.tensor(4.0), "fake_score": torch.tensor(1.0)})
    term = lecam(scores, memory=memory)
    assert term.item() == pytest.approx(0.5 * ((4 + 16) / 2 + (16 + 4) / 2))
    (gradient,) = torch.autograd.grad(term, scores[0])
    torch.testing.assert_close(gradient, 0.5 * (scores[0].detach() - 1))


def test_its_averages_are_plain_means_first_and_then_decay():
    memory, seen = LeCam(decay=0.75).memory(), [1.0, 3.0, -2.0, 6.0, 0.0, 8.0]
    averages = []
    for score in seen:
        memory.tell({"real_score": torch.tensor(score), "fake_score": torch.tensor(-score)})
        averages.append(memory.real.item())
        assert memory.fake.item() == -memory.real.item()
    expected = [1.0, 2.0, 2 / 3, 2.0]  # of the first four
    expected += [0.75 * 2.0, 0.75 * 1.5 + 0.25 * 8]
    assert averages == pytest.approx(expected)


def test_consistency_by_hand():
    term = Consistency(real_weight=2.0, fake_weight=3.0)
    scores, changed = (torch.tensor([1.0, 2.0]), torch.tensor([0.0, 4.0])), (torch.tensor([1.0, 5.0]), torch.ones(2))
    assert term(scores, changed).item() == pytest.approx(2 * 9 / 2 + 3 * (1 + 9) / 2)
    assert term(scores, scores).item() == 0


def test_losses_of_one_draw_by_hand():
    module = seeded(partial(GAN, SHAPE, regularizer=Consistency(), **MLP))
    torch.manual_seed(2)
    draw = module.draw((torch.rand(6, *SHAPE), torch.zeros(6)))
    change, d, fake = DiffAugment("translation,cutout"), module.discriminator, module.generator(draw.z).detach()
    real, real_changed = d(draw.real), d(change(draw.real, draw.real_change))
    scores, changed = d(fake), d(change(fake, draw.fake_change))
    expected = F.softplus(-real).mean() + F.softplus(scores).mean()
    expected = expected + 10 * ((real - real_changed) ** 2).mean() + 10 * ((scores - changed) ** 2).mean()
    torch.testing.assert_close(module.discriminator_loss(draw)[0], expected)

    module = seeded(partial(GAN, SHAPE, regularizer=LeCam(), **MLP))
    module.memories["regularizer"].tell({"real_score": torch.tensor(0.5), "fake_score": torch.tensor(-0.5)})
    pull = 0.3 * (((real + 0.5) ** 2).mean() + ((scores - 0.5) ** 2).mean())
    loss, values = module.discriminator_loss(dataclasses.replace(draw, real_change=None, fake_change=None))
    torch.testing.assert_close(values["regularizer"], pull)
    torch.testing.assert_close(loss, F.softplus(-real).mean() + F.softplus(scores).mean() + pull)


def test_what_is_refused():
    with pytest.raises(ValueError, match=r"unroll=.*no regularizer"):
        GAN(SHAPE, regularizer=LeCam(), unroll=UnrolledSGD(), **MLP)
    with pytest.raises(ValueError, match=r"regularizer=DiffAugment: it transforms images .* shape \(2,\)"):
        GAN((2,), regularizer=Consistency(), **MLP)
    with pytest.raises(ValueError, match="policy='flip': DiffAugment knows no such"):
        Consistency("flip")


# ---- freezing


@pytest.mark.parametrize("freeze", [2, ["trunk.0", "trunk.2"]])
def test_frozen_layers_keep_the_weights_that_they_start_from(freeze, tmp_path):
    start = seeded(partial(GAN, SHAPE, **DCGAN))
    save_pretrained(start, tmp_path / "start")
    module = GAN(SHAPE, init_from=str(tmp_path / "start"), discriminator_freeze=freeze, **DCGAN)
    fit(module, max_steps=3)
    weights = dict(module.discriminator.named_parameters())
    kept = {name for name, p in start.discriminator.named_parameters() if torch.equal(p, weights[name])}
    assert kept == {name for name in weights if name.startswith(("trunk.0.", "trunk.2."))}
    assert len(module._players[0].parameters) == len(weights) - len(kept)
    save_pretrained(module, tmp_path / "tuned")
    again = from_pretrained(tmp_path / "tuned")
    assert not again.discriminator.trunk[0].weight.requires_grad


def test_layers_under_a_norm_of_weights_are_counted_once():
    module = seeded(partial(GAN, SHAPE, constraint=SpectralNorm(), discriminator_freeze=1, **MLP))
    frozen = [name for name, p in module.discriminator.named_parameters() if not p.requires_grad]
    assert frozen
    assert all(name.startswith("layers.0.") for name in frozen)


@pytest.mark.parametrize(
    ("freeze", "message"),
    [
        (["trunk.9"], "discriminator_freeze='trunk.9': no such layer; discriminator has trunk.0, trunk.2, "),
        (9, "discriminator_freeze=9: a number below the . layers with weights of discriminator"),
        (-1, "discriminator_freeze=-1: a number of layers, or their names"),
    ],
)
def test_strange_layers_are_told(freeze, message):
    with pytest.raises(ValueError, match=message):
        GAN(SHAPE, discriminator_freeze=freeze, **DCGAN)
    assert Player("x", ("x",), torch.optim.SGD).freeze == 0


def test_an_option_turned_on_in_a_resumed_run_begins_with_a_memory_of_its_own(tmp_path):
    class Save(GAN):
        def on_train_end(self):
            super().on_train_end()
            self.trainer.save_checkpoint(tmp_path / f"{self.regularizer}.ckpt")

    plain = seeded(partial(Save, SHAPE, **MLP))
    fit(plain, max_steps=2)
    regularized = seeded(partial(Save, SHAPE, regularizer=LeCam(), **MLP))
    fit(regularized, ckpt_path=tmp_path / "None.ckpt", max_steps=4)
    assert regularized.memories["regularizer"].updates == 2
    back = seeded(partial(GAN, SHAPE, **MLP))
    fit(back, ckpt_path=tmp_path / f"{LeCam()}.ckpt", max_steps=5)
    assert back.updates["discriminator"] == 5
