"""What every bottleneck promises. A new one is one line in EVERY."""

import math
from functools import partial

import pytest
import torch
from families import unlisted

import lit_gen.networks
from lit_gen.networks import FSQ, LFQ, Bottleneck, GaussianBottleneck, Quantizer, VectorQuantizer

SHAPE = (3, 8, 12)
EVERY = [
    partial(GaussianBottleneck, channels=3, kl_weight=0.1),
    partial(VectorQuantizer, codes=11, channels=3),
    partial(FSQ, levels=(8, 5, 5, 5)),
    partial(FSQ, levels=(2, 3, 7, 16)),
    partial(FSQ, levels=(4, 3), whiten=True),
    partial(LFQ, bits=5),
    partial(LFQ, bits=1),
]
QUANTISED = [make for make in EVERY if issubclass(make.func, Quantizer)]


def name(make):
    return f"{make.func.__name__}-{'-'.join(str(value) for value in make.keywords.values())}"


every = pytest.mark.parametrize("make", EVERY, ids=name)
quantised = pytest.mark.parametrize("make", QUANTISED, ids=name)


def build(make):
    torch.manual_seed(0)
    return make(SHAPE)


def encoded(bottleneck, n=4, dtype=torch.float32):
    return torch.randn(n, bottleneck.encoded_channels, 2, 3, dtype=dtype)


def test_all_public_bottlenecks_are_listed():
    assert not unlisted(lit_gen.networks, Bottleneck, EVERY)


@every
def test_latents_loss_and_bits(make):
    bottleneck = build(make)
    shape = bottleneck.noise_shape(2, 3)
    code = bottleneck(encoded(bottleneck), None if shape is None else torch.randn(4, *shape))
    assert code.latents.shape == (4, bottleneck.channels, 2, 3)
    assert code.loss.ndim == code.bits.ndim == 0
    assert all(value.ndim == 0 for value in code.values.values())
    assert code.bits > 0


@every
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_all_is_computed_in_float32(make, dtype):
    """Of the same numbers the same, whether they come in half precision, under autocast, or in float32."""
    bottleneck = build(make)
    x = encoded(bottleneck).to(dtype)
    expected = bottleneck(x.float())
    with torch.autocast("cpu", dtype=dtype):
        found = bottleneck(x)
    assert found.latents.dtype == found.loss.dtype == torch.float32
    assert torch.equal(found.latents, expected.latents)
    assert torch.equal(found.loss, expected.loss)


@quantised
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_numbers_and_codes_are_a_bijection(make, dtype):
    """All codes have latents of their own, whose maps have their numbers: in any type, under autocast too."""
    bottleneck = build(make)
    numbers = torch.arange(bottleneck.codes).reshape(-1, 1, 1)
    latents = bottleneck.lookup(numbers)
    assert len(latents.flatten(1).unique(dim=0)) == bottleneck.codes
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = bottleneck.indices(maps_of(bottleneck, latents).to(dtype))
    assert found.dtype == torch.int64
    assert torch.equal(found, numbers)


def maps_of(bottleneck, latents):
    """Maps in the middle of each code's cell."""
    if isinstance(bottleneck, FSQ):
        half, reach, offset, shift = (
            torch.tensor(values, dtype=torch.float64)[:, None, None]
            for values in zip(*((level // 2, *constants(level)) for level in bottleneck.levels), strict=True)
        )
        inside = ((latents.double() * half + offset) / reach).clamp(-0.9995, 0.9995)  # the outer levels are at infinity
        return inside.atanh() - shift
    return latents


def constants(level):
    reach, offset = (level - 1) * 1.001 / 2, 0.5 * (level % 2 == 0)
    return reach, offset, math.atanh(offset / reach)


@quantised
def test_the_latents_are_those_of_the_numbers(make):
    bottleneck = build(make)
    x = encoded(bottleneck, n=50)
    numbers = bottleneck.indices(x)
    assert 0 <= numbers.min() <= numbers.max() < bottleneck.codes
    assert torch.equal(bottleneck(x).latents, bottleneck.lookup(numbers))
    assert float(bottleneck(x).bits) == pytest.approx(6 * math.log2(bottleneck.codes))


@quantised
def test_the_gradient_goes_straight_through(make):
    """Of sum(w · latents): that of the values before rounding, by finite differences."""
    bottleneck = build(make).double()
    x = encoded(bottleneck, dtype=torch.float64).requires_grad_()
    weights = torch.randn(4, bottleneck.channels, 2, 3, dtype=torch.float64)
    (gradient,) = torch.autograd.grad((weights * bottleneck(x).latents).sum(), x)

    def before(x):
        if isinstance(bottleneck, FSQ):
            return bottleneck.bound(x) / torch.tensor([level // 2 for level in bottleneck.levels])[:, None, None]
        return x

    step = 1e-6
    for index in [(0, 0, 0, 0), (3, bottleneck.encoded_channels - 1, 1, 2)]:
        moved = torch.zeros_like(x)
        moved[index] = step
        with torch.no_grad():
            slope = ((weights * (before(x + moved) - before(x - moved))).sum() / (2 * step)).item()
        assert gradient[index].item() == pytest.approx(slope, rel=1e-6)


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (partial(GaussianBottleneck, channels=0), "channels=0"),
        (partial(GaussianBottleneck, kl_weight=-1.0), "kl_weight=-1.0"),
        (partial(VectorQuantizer, codes=1), "codes=1"),
        (partial(VectorQuantizer, channels=0), "channels=0"),
        (partial(VectorQuantizer, decay=1.0), "decay=1.0"),
        (partial(VectorQuantizer, commitment=math.nan), "commitment=nan"),
        (partial(VectorQuantizer, restart_below=-0.1), "restart_below=-0.1"),
        (partial(FSQ, levels=()), r"levels=\[\]"),
        (partial(FSQ, levels=(8, 1)), r"levels=\[8, 1\]"),
        (partial(FSQ, levels=(8, 300)), r"levels=\[8, 300\]"),
        (partial(FSQ, levels=(256,) * 4), r"at most 2\^31"),
        (partial(FSQ, whiten=True, decay=1.0), "decay=1.0: FSQ"),
        (partial(LFQ, bits=0), "bits=0"),
        (partial(LFQ, bits=21), "bits=21"),
        (partial(LFQ, temperature=0.0), "temperature=0.0"),
        (partial(LFQ, diversity=-1.0), "diversity=-1.0"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_bad_options_are_named(make, told):
    with pytest.raises(ValueError, match=told) as error:
        make(SHAPE)
    assert "\n" not in str(error.value)
