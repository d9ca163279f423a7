import copy
import io
from functools import partial

import pytest
import torch
from torch import nn

from lit_gen.losses import R1, SpectralNorm
from lit_gen.networks import DCGANDiscriminator, FixupDiscriminator, MLPDiscriminator, ResNetDiscriminator
from lit_gen.networks.spectral import NORMALISED_LAYERS
from lit_gen.training.averaging import ExponentialMovingAverage

SHAPE, CLASSES = (1, 32, 32), 3
CRITICS = [
    partial(MLPDiscriminator, SHAPE, width=8),
    partial(MLPDiscriminator, SHAPE, CLASSES, width=8, minibatch="discrimination"),
    partial(MLPDiscriminator, SHAPE, CLASSES, width=8, condition="embedding"),
    partial(DCGANDiscriminator, SHAPE, CLASSES, width=4, norm="none", condition="auxiliary"),
    partial(DCGANDiscriminator, SHAPE, CLASSES, width=4, norm="none", condition="concatenation"),
    partial(ResNetDiscriminator, SHAPE, CLASSES, width=4),
    partial(FixupDiscriminator, SHAPE, CLASSES, width=4, blocks=1),
]


def name_of(make):
    return "-".join([make.func.__name__, *map(str, make.args[1:]), str(make.keywords.get("condition", ""))])


def batch(n=4):
    return torch.randn(n, *SHAPE), torch.arange(n) % CLASSES


def scores(critic, x, labels):
    return critic(x, labels) if critic.num_classes else critic(x)


def largest_singular_values(critic):
    for name, layer in critic.named_modules():
        if isinstance(layer, NORMALISED_LAYERS):
            yield name, torch.linalg.matrix_norm(layer.weight.detach().flatten(1), 2).item()


@pytest.mark.parametrize("make", CRITICS, ids=name_of)
def test_every_layer_s_largest_singular_value_comes_to_one(make):
    torch.manual_seed(0)
    critic = make(spectral_norm=True)
    for _ in range(150):
        scores(critic, *batch(2))
        if critic.classifies:
            critic.classify(batch(2)[0])
    values = dict(largest_singular_values(critic.eval()))
    plain = dict(largest_singular_values(make()))
    assert values.keys() == plain.keys()
    assert any(abs(value - 1) > 0.1 for value in plain.values())
    for name, value in values.items():
        assert value == pytest.approx(1.0, abs=0.01), name


def test_the_projection_s_rows_are_normalised_as_one_matrix():
    critic = ResNetDiscriminator(SHAPE, CLASSES, width=4, spectral_norm=True).eval()
    assert torch.linalg.matrix_norm(critic.head.weight, 2).item() == pytest.approx(1.0, abs=0.01)


def test_argument_and_constraint_do_the_same():
    torch.manual_seed(0)
    by_argument = DCGANDiscriminator(SHAPE, CLASSES, width=4, norm="none", spectral_norm=True)
    torch.manual_seed(0)
    by_constraint = DCGANDiscriminator(SHAPE, CLASSES, width=4, norm="none")
    SpectralNorm().prepare(by_constraint)
    x, labels = batch()
    for _ in range(3):
        assert torch.equal(by_argument(x, labels), by_constraint(x, labels))
    assert by_argument.state_dict().keys() == by_constraint.state_dict().keys()


def test_twice_is_refused_and_so_is_a_layer_of_zeros():
    critic = MLPDiscriminator(SHAPE, width=4, spectral_norm=True)
    with pytest.raises(ValueError, match=r"MLPDiscriminator: layer 'layers.0' is normalised already"):
        SpectralNorm().prepare(critic)
    fixup = FixupDiscriminator(SHAPE, width=4)
    with pytest.raises(ValueError, match=r"FixupDiscriminator: layer '.*residual.4' is zero .*spectral_norm=True"):
        SpectralNorm().prepare(fixup)
    assert not any("original" in name for name in fixup.state_dict())


@pytest.mark.parametrize("make", CRITICS, ids=name_of)
def test_copies_files_and_averages(make):
    torch.manual_seed(0)
    critic = make(spectral_norm=True)
    x, labels = batch()
    optimizer = torch.optim.Adam(critic.parameters(), 1e-2)
    average = ExponentialMovingAverage(critic, half_life=1e-6)
    for _ in range(2):
        outputs = critic.classify(x) if critic.classifies else (scores(critic, x, labels),)
        loss = sum(output[:, 0].mean() if output.ndim == 2 else output.mean() for output in outputs)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        average.follow(critic, images=4)
    critic.eval()
    expected = scores(critic, x, labels)
    torch.testing.assert_close(scores(average.network, x, labels), expected)
    torch.testing.assert_close(scores(copy.deepcopy(critic), x, labels), expected)
    file = io.BytesIO()
    torch.save(critic.state_dict(), file)
    file.seek(0)
    other = make(spectral_norm=True).eval()
    other.load_state_dict(torch.load(file, weights_only=True))
    torch.testing.assert_close(scores(other, x, labels), expected)


@pytest.mark.parametrize("make", CRITICS[3:], ids=name_of)
def test_penalties_pass_through(make):
    critic = make(spectral_norm=True).double()
    x, labels = batch()
    penalty = R1()(lambda points: critic(points, labels), x.double(), x.double(), torch.rand(4))
    penalty.backward()
    gradients = [p.grad for p in critic.parameters() if p.grad is not None]
    assert len(gradients) >= 4
    assert all(gradient.isfinite().all() for gradient in gradients)


def test_a_normalised_critic_is_1_lipschitz():
    critic = MLPDiscriminator((5,), width=16, depth=3, spectral_norm=True)
    for _ in range(100):
        critic(torch.randn(2, 5))
    a, b = torch.randn(200, 5), torch.randn(200, 5)
    slopes = (critic.eval()(a) - critic(b)).abs() / (a - b).norm(dim=1)
    assert slopes.max() < 1.01
    steep = MLPDiscriminator((5,), width=16, depth=3)
    for layer in steep.layers:
        if isinstance(layer, nn.Linear):
            nn.init.normal_(layer.weight)
    assert ((steep(a) - steep(b)).abs() / (a - b).norm(dim=1)).max() > 1.01
