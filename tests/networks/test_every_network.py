"""What every network promises. A new one is a line in `every_network.CLASSES`, and one in SHAPES, NORMS if need be."""

import copy
import json

import pytest
import torch
from every_network import (
    CASES,
    CLASS_COUNT,
    CLASSES,
    LATENT,
    OPTIONAL,
    SMALL,
    build,
    expected_shapes,
    inputs,
    outputs,
    stirred,
)
from families import unlisted

import lit_gen.networks
import lit_gen.pretrained.specification as specification
from lit_gen.networks import (
    CodeTransformer,
    Decoder,
    Discriminator,
    Encoder,
    Generator,
    Network,
    SpatialDecoder,
    SpatialEncoder,
    Translator,
    couples_batch,
)
from lit_gen.networks.minibatch import BATCH_COMPARISONS

every_network = pytest.mark.parametrize(("base", "make", "shape"), CASES)
every_small_network = pytest.mark.parametrize(("base", "make", "shape"), SMALL + OPTIONAL)
conditional = [case for case in CASES if "num_classes" in case.values[1].keywords]


def test_every_public_network_is_listed():
    images = [make for classes in CLASSES.values() for make in classes]
    assert not unlisted(lit_gen.networks, Network, [*images, CodeTransformer])  # of codes: test_every_code_network.py
    for base, classes in CLASSES.items():
        assert all(issubclass(make, base) for make in classes)


@every_network
def test_shapes_and_gradients(base, make, shape):
    network = build(base, make, shape)
    assert isinstance(network, base)
    results = outputs(network, inputs(base, shape))
    assert [tuple(y.shape) for y in results] == expected_shapes(base, make, shape)
    if base in (Generator, Translator) and len(shape) == 3:
        assert results[0].abs().max() <= 1
    if base is Discriminator and network.classifies:
        results = network.classify(inputs(base, shape))
        assert [tuple(y.shape) for y in results] == [(4,), (4, CLASS_COUNT)]
    sum(y.square().sum() for y in results).backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


@every_network
def test_double_and_half_precision_and_copies(base, make, shape):
    network, x = build(base, make, shape).eval(), inputs(base, shape)
    exact = outputs(copy.deepcopy(network).double(), x.double())
    for y, reference in zip(outputs(network, x), exact, strict=True):
        assert reference.dtype == torch.float64
        torch.testing.assert_close(y.double(), reference, rtol=1e-3, atol=1e-4)
    with torch.autocast("cpu", torch.bfloat16):
        for y, reference in zip(outputs(network, x), exact, strict=True):
            torch.testing.assert_close(y.double(), reference, rtol=0.1, atol=0.1)
    half = outputs(copy.deepcopy(network).bfloat16(), x.bfloat16())
    assert all(y.isfinite().all() for y in half)
    if base is Encoder:
        assert half[1].dtype == torch.float32


@pytest.mark.parametrize(("base", "make", "shape"), [case for case in CASES if len(case.values[2]) == 3])
def test_channels_last_changes_no_value(base, make, shape):
    network, x = build(base, make, shape).double().eval(), inputs(base, shape).double()
    expected = outputs(network, x)
    x = x.to(memory_format=torch.channels_last) if x.ndim == 4 else x
    for y, reference in zip(outputs(network.to(memory_format=torch.channels_last), x), expected, strict=True):
        torch.testing.assert_close(y, reference)


@every_small_network
def test_a_sample_is_alone_unless_the_network_says_otherwise(base, make, shape):
    """In evaluation only layers that compare the batch's samples couple them, in training batch norm too."""
    network, x = stirred(build(base, make, shape)), inputs(base, shape).double()
    labels = torch.arange(4) if network.num_classes else None
    compares = any(isinstance(layer, BATCH_COMPARISONS) for layer in network.modules())
    for training, coupled in [(True, couples_batch(network)), (False, compares)]:
        network.train(training)
        whole = outputs(copy.deepcopy(network), x, labels)  # a pass in training may change the state
        part = outputs(copy.deepcopy(network), x[:2], None if labels is None else labels[:2])
        differences = [(y[:2] - z).abs().max().item() for y, z in zip(whole, part, strict=True)]
        assert (min(differences) > 1e-9) if coupled else (max(differences) < 1e-12), (training, differences)
    for y, again in zip(whole, outputs(network, x, labels), strict=True):
        assert torch.equal(y, again)
    one = outputs(network, x[:1], None if labels is None else labels[:1])
    assert [y.shape for y in one] == [(1, *y.shape[1:]) for y in whole]


@every_small_network
def test_seeds_states_and_descriptions_give_the_network_again(base, make, shape):
    network, same = build(base, make, shape), build(base, make, shape)
    torch.manual_seed(1)
    options = {"output_shape" if base is Decoder else "image_shape": list(shape)}
    size = "channels" if base in (SpatialEncoder, SpatialDecoder) else "latent_dim"
    options |= {} if base in (Discriminator, Translator) else {size: LATENT}
    description = json.loads(json.dumps(specification.describe(make)))
    rebuilt = specification.build(description["class_path"], {**description["init_args"], **options}).eval()
    assert type(rebuilt) is type(network)
    state = network.state_dict()
    assert all(torch.equal(value, state[key]) for key, value in same.state_dict().items())
    assert any(not torch.equal(value, state[key]) for key, value in rebuilt.state_dict().items())
    rebuilt.load_state_dict(state)
    x = inputs(base, shape)
    expected = outputs(network.eval(), x)
    for other in (rebuilt, same.eval(), copy.deepcopy(network)):
        for y, reference in zip(outputs(other, x), expected, strict=True):
            assert torch.equal(y, reference)


@pytest.mark.parametrize(
    ("base", "make", "shape"), [case for case in CASES if "num_classes" in case.values[1].keywords]
)
def test_labels_are_heeded_and_wrong_ones_named(base, make, shape):
    network, x = stirred(build(base, make, shape)).eval(), inputs(base, shape).double()
    labels = torch.arange(4)
    for y, other in zip(outputs(network, x, labels), outputs(network, x, labels + 1), strict=True):
        differences = (y - other).abs()
        if base is Discriminator and network.classifies:  # tells the class in place of taking it
            assert not differences.any()
        else:
            assert differences.max() > 1e-9
    for wrong in (None, labels.float(), labels[:3], labels - 1, labels + CLASS_COUNT):
        with pytest.raises(ValueError, match=rf"labels.*{type(network).__name__}") as error:
            network(x, wrong)
        assert "\n" not in str(error.value)
