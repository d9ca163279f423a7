"""Networks of codes: who sees whom, drawn one by one = all at once. A new one is a line in `EVERY`."""

import copy
import math
from functools import partial

import pytest
import torch
from families import unlisted
from torch import nn

import lit_gen.networks
from lit_gen.networks import CodeNetwork, CodeTransformer

MAP, CODES, CLASSES = (2, 3), 5, 4
SMALL = {"width": 8, "depth": 2, "heads": 2}
EVERY = {"transformer": CodeTransformer, "tied transformer": partial(CodeTransformer, tied=True)}
every = pytest.mark.parametrize("kind", EVERY)


def made(num_classes=0, dtype=torch.float64, kind="transformer", **options):
    torch.manual_seed(0)
    network = EVERY[kind](MAP, CODES, num_classes, **{**SMALL, **options}).eval()
    for weights in network.parameters():  # far from their tiny first values, so that everything has a say
        nn.init.normal_(weights, std=0.5)
    return network.to(dtype)


def codes(n=3):
    return torch.randint(CODES, (n, 6), generator=torch.Generator().manual_seed(1))


def test_every_public_one_is_listed():
    assert not unlisted(lit_gen.networks, CodeNetwork, list(EVERY.values()))


def test_logits_depend_on_no_later_code():
    """The gradient of a position's logits is zero, not small, in the vectors of its own code and all after it."""
    network, embedded = made(), []
    network.code.register_forward_hook(lambda _, __, x: embedded.append(x.detach().requires_grad_()) or embedded[-1])
    logits = network(codes(1))
    for position in range(6):
        (gradient,) = torch.autograd.grad(logits[0, position].square().sum(), embedded[0], retain_graph=True,
                                          allow_unused=True)  # fmt: skip
        gradient = torch.zeros_like(embedded[0]) if gradient is None else gradient
        assert (gradient[0, position:] == 0).all()
        assert (gradient[0, :position].abs().amax(1) > 0).all()


@every
def test_another_code_changes_the_logits_after_it_alone(kind):
    network, x = made(kind=kind), codes()
    logits = network(x)
    assert logits.shape == (3, network.length, CODES)
    for position in range(6):
        other = x.clone()
        other[:, position] = (x[:, position] + 1) % CODES
        changed = (network(other) - logits).abs().amax((0, 2))
        assert torch.equal(changed > 0, torch.arange(6) > position)


@every
@pytest.mark.parametrize("num_classes", [0, CLASSES])
def test_cached_is_as_all_at_once(num_classes, kind):
    """Of the codes that it has chosen, every position's logits; in float64 the choices themselves."""
    labels = (torch.tensor([0, 3, 1]),) if num_classes else ()
    for dtype, tolerance in {torch.float32: 1e-5, torch.float64: 1e-12}.items():
        network, seen = made(num_classes, dtype, kind), []

        def choose(logits, position, seen=seen):
            seen.append(logits)
            return logits.argmax(1)

        with torch.no_grad():
            drawn = network.drawn(3, choose, *labels)
            logits = network(drawn, *labels)
            torch.testing.assert_close(torch.stack(seen, 1), logits, rtol=tolerance, atol=tolerance)
            if dtype == torch.float64:  # without a cache: the whole sequence again for every code
                slow = torch.zeros(3, 6, dtype=torch.int64)
                for position in range(6):
                    slow[:, position] = network(slow, *labels)[:, position].argmax(1)
                assert torch.equal(drawn, slow)


@every
def test_double_and_half_precision_and_copies(kind):
    exact = made(kind=kind)
    reference, x = exact(codes()), codes()
    torch.testing.assert_close(copy.deepcopy(exact).float()(x).double(), reference, rtol=1e-4, atol=1e-4)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(copy.deepcopy(exact).float()(x).double(), reference, rtol=0.1, atol=0.5)
    assert exact.bfloat16()(x).isfinite().all()


@every
def test_every_weight_learns(kind):
    network = made(CLASSES, kind=kind)
    network(torch.randint(CODES, (50, 6)), torch.arange(50) % CLASSES).square().sum().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad.flatten(1).abs().sum(-1).all() if parameter.ndim > 1 else parameter.grad.any(), name


@every
def test_the_label_is_seen_by_all(kind):
    network = made(CLASSES, kind=kind)
    one, other = (network(codes(1), torch.tensor([label])) for label in (0, 1))
    assert ((one - other).abs().amax(2) > 0).all()


def test_a_block_is_that_of_pytorch():
    """nn.TransformerEncoderLayer with the norm first and a causal mask, of the same weights."""
    network = made()
    block, x = network.blocks[0], torch.randn(3, 6, 8, dtype=torch.float64)
    theirs = nn.TransformerEncoderLayer(8, 2, 32, 0.0, "gelu", batch_first=True, norm_first=True, dtype=torch.float64)
    pairs = {
        "self_attn.in_proj_weight": block.attention.qkv.weight, "self_attn.in_proj_bias": block.attention.qkv.bias,
        "self_attn.out_proj.weight": block.attention.out.weight, "self_attn.out_proj.bias": block.attention.out.bias,
        "linear1.weight": block.perceptron[0].weight, "linear1.bias": block.perceptron[0].bias,
        "linear2.weight": block.perceptron[2].weight, "linear2.bias": block.perceptron[2].bias,
        "norm1.weight": block.norm_attention.weight, "norm1.bias": block.norm_attention.bias,
        "norm2.weight": block.norm_perceptron.weight, "norm2.bias": block.norm_perceptron.bias,
    }  # fmt: skip
    theirs.load_state_dict({name: value.detach() for name, value in pairs.items()})
    mask = nn.Transformer.generate_square_subsequent_mask(6, dtype=torch.float64)
    torch.testing.assert_close(block(x), theirs.train()(x, src_mask=mask, is_causal=True))


def test_first_weights_are_those_of_gpt2():
    torch.manual_seed(0)
    network = CodeTransformer((8, 8), 512, width=128, depth=8, heads=4)
    for name, weights in network.named_parameters():
        if "norm" in name:
            assert torch.equal(weights, torch.full_like(weights, float(name.endswith("weight"))))
        elif name.endswith("bias"):
            assert not weights.any()
        elif weights.shape[0] > 1:
            ends = name.endswith(("attention.out.weight", "perceptron.2.weight"))
            expected = 0.02 / math.sqrt(16) if ends else 0.02
            assert weights.std().item() == pytest.approx(expected, rel=0.05)


def test_dropout_is_for_training():
    network, x = made(dropout=0.5), codes()
    assert torch.equal(network(x), network(x))
    network.train()
    assert not torch.equal(network(x), network(x))


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (partial(made, heads=3), "width=8, heads=3"),
        (partial(made, dropout=1.0), "dropout=1.0"),
        (partial(made, depth=0), "depth=0"),
        (partial(CodeTransformer, (0, 3), 5), "height=0"),
        (partial(CodeTransformer, (2, 3), 0), "codes=0"),
        (lambda: made(CLASSES)(codes()), "labels=None"),
        (lambda: made()(codes(), torch.zeros(3, dtype=torch.int64)), "labels given"),
        (lambda: made(CLASSES).drawn(3, lambda logits, _: logits.argmax(1)), "labels=None"),
    ],
)
def test_bad_input_is_named(make, told):
    with pytest.raises(ValueError, match=told):
        make()
