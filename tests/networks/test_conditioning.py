"""Labels in networks: what is checked, what each condition computes, what it costs and that it matters."""

import copy
import io
import math
from functools import partial
from typing import get_args

import pytest
import torch
from torch import nn

from lit_gen.networks import (
    ConditionalBatchNorm,
    DCGANDecoder,
    DCGANDiscriminator,
    DCGANEncoder,
    DCGANGenerator,
    Decoder,
    Discriminator,
    FixupDiscriminator,
    FixupGenerator,
    Generator,
    MaxoutMLPDiscriminator,
    Minibatch,
    MLPDecoder,
    MLPDiscriminator,
    MLPEncoder,
    MLPGenerator,
    ResNetDiscriminator,
    ResNetGenerator,
    couples_batch,
    has_batch_norm,
)
from lit_gen.networks.conditioning import JoinLabels, Projection

K, LATENT, SHAPE, IMAGE = 4, 3, (2, 8, 8), (2, 32, 32)
LATENT_NETWORKS = [MLPGenerator, DCGANGenerator, MLPDecoder, DCGANDecoder, MLPEncoder, DCGANEncoder]
CASES = [
    *[
        partial(make, SHAPE, LATENT, K, 4, condition=c)
        for make in LATENT_NETWORKS
        for c in ("concatenation", "embedding")
    ],
    *[partial(make, SHAPE, LATENT, K, 4, norm="batch", condition="batch_norm") for make in LATENT_NETWORKS[:2]],
    *[
        partial(make, SHAPE, K, 4, condition=c)
        for make in (MLPDiscriminator, DCGANDiscriminator, FixupDiscriminator, MaxoutMLPDiscriminator)
        for c in ("concatenation", "embedding", "projection")
    ],
    *[partial(FixupGenerator, SHAPE, LATENT, K, 4, condition=c) for c in ("concatenation", "embedding")],
    *[partial(ResNetGenerator, IMAGE, LATENT, K, 2, condition=c) for c in ("concatenation", "embedding", "batch_norm")],
    *[partial(ResNetDiscriminator, IMAGE, K, 2, condition=c) for c in ("concatenation", "embedding", "projection")],
]
IDS = [f"{case.func.__name__}-{case.keywords['condition']}" for case in CASES]


def count(network):
    return sum(parameter.numel() for parameter in network.parameters())


def perturbed(network):
    """Away from an initialisation at which classes may agree."""
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return network.double()


def batch(network, n=4):
    shape = (LATENT,) if isinstance(network, (Generator, Decoder)) else network.image_shape
    return torch.randn(n, *shape).double()


def first(output):
    return output[0] if isinstance(output, tuple) else output


@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_a_label_changes_its_own_sample_and_no_other(case):
    torch.manual_seed(0)  # of a few ReLUs all may be shut, and the label with them
    network = perturbed(case()).eval()
    x = batch(network)
    before = first(network(x, torch.tensor([0, 1, 2, 3])))
    torch.testing.assert_close(first(network(x, torch.tensor([0, 1, 2, 3]))), before)
    after = first(network(x, torch.tensor([0, 1, 1, 3])))
    for i in (0, 1, 3):
        torch.testing.assert_close(after[i], before[i])
    assert (after[2] - before[2]).abs().max() > 1e-6


@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_labels_are_checked_before_the_pass(case):
    network = case()
    x, name = batch(network).float(), f"{type(network).__name__} with num_classes=4"
    with pytest.raises(ValueError, match=f"labels=None: {name} needs one for each of its 4 samples"):
        network(x)
    for wrong in (torch.zeros(3).long(), torch.zeros(4), torch.zeros(4).int(), torch.zeros(4, 1).long()):
        with pytest.raises(ValueError, match=rf"labels are .*: {name} needs torch.int64 \(4,\)"):
            network(x, wrong)
    for wrong in (4, -1):
        with pytest.raises(ValueError, match=f"labels from .* to .*: {name} needs 0 to 3"):
            network(x, torch.tensor([0, 1, 2, wrong]))
    latent = [LATENT] if hasattr(network, "latent_dim") else []
    with pytest.raises(ValueError, match=r"labels given: .* with num_classes=0 is unconditional"):
        case.func(case.args[0], *latent)(x, torch.zeros(4).long())


def test_negative_classes_and_unknown_conditions_are_named():
    with pytest.raises(ValueError, match="num_classes=-1: MLPGenerator needs at least 0"):
        MLPGenerator((2,), 3, -1)
    for classes in (0, 3):
        with pytest.raises(
            ValueError, match="condition='project': MLPDiscriminator takes 'concatenation', 'embedding', "
        ):
            MLPDiscriminator((2,), classes, condition="project")
    with pytest.raises(ValueError, match="condition='batch_norm': MLPDecoder takes 'concatenation', 'embedding'"):
        MLPDecoder((2,), 3, 2, condition="batch_norm")
    with pytest.raises(ValueError, match="condition='batch_norm', norm='layer': DCGANGenerator"):
        DCGANGenerator((1, 8, 8), 3, 2, norm="layer", condition="batch_norm")


def test_inputs_and_labels_may_be_named():
    generator = MLPGenerator((2,), LATENT, K)
    z, labels = torch.randn(4, LATENT), torch.arange(4)
    expected = generator(z, labels)
    assert torch.equal(generator(z, labels=labels), expected)
    assert torch.equal(generator(labels=labels, z=z), expected)
    with pytest.raises(ValueError, match="labels=None: MLPGenerator"):
        generator(labels=None, z=z)
    plain = MLPGenerator((2,), LATENT)
    assert torch.equal(plain(z=z, labels=None), plain(z))


class OldGenerator(Generator):
    def __init__(self, image_shape, latent_dim):
        super().__init__(image_shape, latent_dim)
        self.layer = nn.Linear(latent_dim, image_shape[0])

    def forward(self, z):
        return self.layer(z)


class OldDiscriminator(Discriminator):
    def __init__(self, image_shape):
        super().__init__(image_shape)
        self.layer = nn.Linear(image_shape[0], 1)

    def forward(self, x):
        return self.layer(x).squeeze(1)


def test_networks_that_know_no_labels_work_without():
    generator, discriminator = OldGenerator((2,), 3), OldDiscriminator((2,))
    x = generator(torch.randn(5, 3), None)
    assert discriminator(x).shape == (5,)
    assert discriminator(x=x, labels=None).shape == (5,)
    with pytest.raises(ValueError, match="labels given: OldDiscriminator"):
        discriminator(x, torch.zeros(5).long())
    assert not discriminator.classifies
    with pytest.raises(ValueError, match="OldDiscriminator with num_classes=0 tells no classes"):
        discriminator.classify(x)


def test_joined_labels_are_one_hot_or_one_learned_map():
    image, labels = torch.randn(3, 2, 2, 3), torch.tensor([1, 0, 3])
    network = MLPDecoder((2,), 3, K)
    joined = JoinLabels(network, (2, 2, 3), "concatenation")(image, labels)
    assert torch.equal(joined[:, :2], image)
    for n, label in enumerate(labels):
        for k in range(K):
            assert (joined[n, 2 + k] == float(k == label)).all()
    learned = JoinLabels(network, (2, 2, 3), "embedding")
    assert learned.added == 1
    assert torch.equal(learned(image, labels)[1, 2], learned.embedding.weight[0].reshape(2, 3))
    for size, added in ((5, 5), (1000, 128)):
        vector = JoinLabels(network, (size,), "embedding")
        assert torch.equal(vector(torch.zeros(3, size), labels)[:, size:], vector.embedding.weight[labels])
        assert vector.added == added


@pytest.mark.parametrize("positions", [(), (3, 2)])
def test_conditional_batch_norm_by_a_loop(positions):
    norm = nn.BatchNorm2d(2, affine=False) if positions else nn.BatchNorm1d(2, affine=False)
    layer = ConditionalBatchNorm(norm, K).double()
    x, labels = torch.randn(5, 2, *positions).double() * 3 + 1, torch.tensor([0, 3, 3, 1, 0])
    mean, variance = (
        getattr(x.transpose(0, 1).flatten(1), name)(1, **options).reshape(1, 2, *[1] * len(positions))
        for name, options in (("mean", {}), ("var", {"unbiased": False}))
    )
    standard = (x - mean) / (variance + 1e-5).sqrt()
    torch.testing.assert_close(layer(x, labels), standard)  # gains 1, biases 0
    nn.init.normal_(layer.gain.weight)
    nn.init.normal_(layer.bias.weight)
    y = layer(x, labels)
    for n, label in enumerate(labels):
        for c in range(2):
            expected = layer.gain.weight[label, c] * standard[n, c] + layer.bias.weight[label, c]
            torch.testing.assert_close(y[n, c], expected)
    assert has_batch_norm(layer)
    assert couples_batch(layer)


def test_conditional_batch_norm_begins_at_one_and_zero_in_every_generator():
    for make in (MLPGenerator, DCGANGenerator):
        generator = make(SHAPE, LATENT, K, norm="batch", condition="batch_norm")
        norms = [layer for layer in generator.modules() if isinstance(layer, ConditionalBatchNorm)]
        assert len(norms) == 2
        for norm in norms:
            assert (norm.gain.weight == 1).all()
            assert (norm.bias.weight == 0).all()


@pytest.mark.parametrize(
    ("make", "minibatch"),
    [
        *[(make, name) for make in (MLPDiscriminator, DCGANDiscriminator) for name in get_args(Minibatch)],
        *[(make, "none") for make in (ResNetDiscriminator, FixupDiscriminator, MaxoutMLPDiscriminator)],
    ],
)
def test_projection_adds_the_inner_product_with_the_label_s_row(make, minibatch):
    options = {"minibatch": minibatch, "norm": "none"} if make in (MLPDiscriminator, DCGANDiscriminator) else {}
    critic = perturbed(make(IMAGE if make is ResNetDiscriminator else SHAPE, K, 4, **options))
    x, labels = batch(critic, 5), torch.tensor([0, 3, 3, 1, 0])
    phi = critic.features(x, labels)
    rows = critic.head.weight
    expected = [critic.score(phi[n : n + 1])[0, 0] + sum(rows[y] * phi[n]) for n, y in enumerate(labels)]
    torch.testing.assert_close(critic(x, labels), torch.stack(expected))
    assert rows.shape == (K, phi.shape[1])
    assert couples_batch(critic) == (minibatch != "none")


@pytest.mark.parametrize("make", [MLPDiscriminator, DCGANDiscriminator])
def test_an_auxiliary_classifier_shares_one_pass_and_leaves_the_score_alone(make):
    critic = perturbed(make(SHAPE, K, 4, norm="none", condition="auxiliary"))
    x, passes = batch(critic, 5), []
    trunk = critic.layers if make is MLPDiscriminator else critic.trunk
    trunk[0].register_forward_hook(lambda *_: passes.append(1))
    scores, logits = critic.classify(x)
    assert len(passes) == 1
    assert logits.shape == (5, K)
    for labels in (torch.zeros(5).long(), torch.full((5,), 3)):
        torch.testing.assert_close(critic(x, labels), scores)
    torch.testing.assert_close(logits, critic.features(x, None) @ critic.head.weight.T + critic.head.bias)
    nn.functional.cross_entropy(logits, torch.zeros(5).long()).backward()
    assert {p for p in critic.parameters() if p.grad is None} == set(trunk[-1].parameters())  # φ learns the classes
    assert critic.classifies
    for other in (make(SHAPE, K, 4), make(SHAPE, 0, 4, condition="auxiliary")):
        assert not other.classifies
        with pytest.raises(ValueError, match=f"{make.__name__} with num_classes=. tells no classes: .*'auxiliary'"):
            other.classify(x.float())


def test_parameters_that_labels_add():
    def added(make, *shapes, **options):
        return count(make(*shapes, K, 4, **options)) - count(make(*shapes, 0, 4, **options))

    pixels, features = math.prod(SHAPE), 8 * 2 * 2  # DCGAN at width 4: two stages, 8 channels of 2 x 2
    for make in (MLPGenerator, MLPDecoder):
        assert added(make, SHAPE, LATENT) == K * 4
        assert added(make, SHAPE, LATENT, condition="embedding") == K * LATENT + LATENT * 4
    for make in (DCGANGenerator, DCGANDecoder):
        assert added(make, SHAPE, LATENT) == K * features
        assert added(make, SHAPE, LATENT, condition="embedding") == K * LATENT + LATENT * features
    assert added(MLPGenerator, SHAPE, LATENT, norm="batch", condition="batch_norm") == (K - 1) * 2 * 2 * 4
    assert added(DCGANGenerator, SHAPE, LATENT, condition="batch_norm") == (K - 1) * 2 * (8 + 4)
    for make in (partial(MLPDiscriminator, SHAPE), partial(MLPEncoder, SHAPE, LATENT)):
        assert added(make, condition="concatenation") == K * 4
        assert added(make, condition="embedding") == K * 128 + 128 * 4
    assert pixels == 128
    for make in (partial(DCGANDiscriminator, SHAPE), partial(DCGANEncoder, SHAPE, LATENT)):
        assert added(make, condition="concatenation") == K * 4 * 16
        assert added(make, condition="embedding") == K * 64 + 4 * 16
    for make, size in ((MLPDiscriminator, 4), (DCGANDiscriminator, features)):
        assert added(make, SHAPE) == K * size
        assert added(make, SHAPE, condition="auxiliary") == K * (size + 1)


def test_without_classes_names_and_numbers_of_parameters_are_those_of_old_checkpoints():
    norms = ["weight", "bias", "running_mean", "running_var", "num_batches_tracked"]
    dcgan = ["0.weight", *[f"2.{name}" for name in norms], "4.weight", *[f"5.{name}" for name in norms]]
    expected = {
        MLPGenerator: ["layers.0.weight", "layers.0.bias", "layers.3.weight", "layers.3.bias"],
        DCGANGenerator: [f"trunk.{name}" for name in [*dcgan, "7.weight", "7.bias"]],
    }
    for make, names in expected.items():
        for condition in ("concatenation", "batch_norm"):
            options = {"depth": 1} if make is MLPGenerator else {}
            assert list(make(SHAPE, LATENT, condition=condition, **options).state_dict()) == names
    for condition in ("concatenation", "embedding", "projection", "auxiliary"):
        critic = MLPDiscriminator(SHAPE, depth=1, condition=condition)
        assert list(critic.state_dict()) == expected[MLPGenerator]
        assert list(DCGANDiscriminator(SHAPE, condition=condition, norm="none").state_dict()) == [
            f"trunk.{layer}.{name}" for layer in (0, 2, 6) for name in ("weight", "bias")
        ]


@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_copies_and_weights_only_files_give_the_same_outputs(case):
    network = perturbed(case()).eval()
    x, labels = batch(network), torch.arange(4)
    expected = first(network(x, labels))
    torch.testing.assert_close(first(copy.deepcopy(network)(x, labels)), expected)
    file = io.BytesIO()
    torch.save(network.state_dict(), file)
    file.seek(0)
    other = case().double().eval()
    other.load_state_dict(torch.load(file, weights_only=True))
    torch.testing.assert_close(first(other(x, labels)), expected)


def test_a_projection_starts_as_a_linear_layer():
    torch.manual_seed(0)
    assert Projection(100, 50).weight.std().item() == pytest.approx(0.1 / math.sqrt(3), rel=0.05)
