"""The forms in which a CPU computes convolutions are PyTorch's convolutions, and are taken where they are faster."""

from functools import wraps

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from lit_gen.kernels import DirectDoubleBackward, FastConvolutions, choice, forms
from lit_gen.kernels.forms import Settings

# Function, shapes of x and of the weight, options, and the forms of its value and of its gradients.
CASES = {
    "dcgan's last layer": (F.conv_transpose2d, (2, 16, 4, 6), (16, 3, 4, 4), (2, 1), {"by_subpixels"}),
    "dcgan's first layer": (F.conv2d, (2, 3, 8, 12), (16, 3, 4, 4), (2, 1), {"by_subpixels"}),
    "a residual generator's last": (F.conv2d, (2, 16, 6, 8), (3, 16, 3, 3), (1, 1), {"by_fours", "by_swapping"}),
    "a residual critic's first": (F.conv2d, (2, 2, 6, 8), (16, 2, 3, 3), (1, 1), {"by_fours"}),
    "a translator's last": (F.conv2d, (1, 16, 22, 20), (3, 16, 7, 7), (1, 0), {"by_fours", "by_swapping"}),
    "odd sides": (F.conv2d, (2, 16, 5, 6), (1, 16, 3, 3), (1, 1), {"by_swapping"}),
    "odd halves": (F.conv2d, (2, 3, 9, 8), (16, 3, 4, 4), (2, 1), set()),
    "a whole map as kernel": (F.conv2d, (2, 16, 4, 4), (1, 16, 4, 4), (1, 0), set()),
    "more padding than kernel": (F.conv2d, (2, 16, 4, 4), (1, 16, 3, 3), (1, 3), set()),
    "even kernels": (F.conv2d, (2, 16, 7, 7), (2, 16, 4, 2), (1, 1), {"by_fours", "by_swapping"}),
    "a halving to few": (F.conv2d, (2, 16, 8, 12), (4, 16, 4, 4), (2, 1), set()),
    "a doubling of few": (F.conv_transpose2d, (2, 3, 4, 6), (3, 16, 4, 4), (2, 1), set()),
    "1 x 1": (F.conv2d, (2, 16, 4, 4), (3, 16, 1, 1), (1, 0), set()),
    "many channels": (F.conv2d, (2, 16, 4, 4), (16, 16, 3, 3), (1, 1), set()),
    "few to few": (F.conv2d, (2, 3, 4, 4), (3, 3, 3, 3), (1, 1), set()),
}


FORMS = ("by_subpixels", "by_fours", "by_windows", "by_product", "by_swapping", "by_blocks", "by_blocks_gradient")


def drawn(*shape):
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(sum(shape))).requires_grad_()


@pytest.fixture
def taken(monkeypatch):
    names = set()

    def watched(form):
        @wraps(form)
        def compute(*arguments):
            names.add(form.__name__)
            return form(*arguments)

        return compute

    for name in FORMS:
        monkeypatch.setattr(forms, name, watched(getattr(forms, name)))
    return names


@pytest.mark.parametrize("innermost", [False, True], ids=["channels first", "channels last"])
@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])
@pytest.mark.parametrize("case", CASES)
def test_values_and_gradients_are_pytorchs(case, bias, innermost, taken):
    function, x_shape, weight_shape, (stride, padding), expected = CASES[case]
    x, weight = drawn(*x_shape), drawn(*weight_shape)
    if innermost:
        x, weight = (t.detach().to(memory_format=torch.channels_last).requires_grad_() for t in (x, weight))
    outputs = weight_shape[1] if function is F.conv_transpose2d else weight_shape[0]
    inputs = (x, weight, *([drawn(outputs)] if bias else []))
    theirs = function(*inputs, stride=stride, padding=padding)
    with FastConvolutions():
        ours = function(*inputs, stride=stride, padding=padding)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)
    assert ours.is_contiguous() or ours.is_contiguous(memory_format=torch.channels_last)
    direction = torch.randn_like(theirs)
    gradients = (torch.autograd.grad(y, inputs, direction) for y in (ours, theirs))
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-11)
    assert taken == expected


@pytest.mark.parametrize(
    ("size", "stride", "padding"), [((4, 4), 2, 1), ((3, 2), 1, 0), ((3, 3), (2, 1), (0, 2))], ids=str
)
@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])
def test_a_value_is_a_product_of_matrices(size, stride, padding, bias):
    x, weight = drawn(3, 4, 9, 7).detach(), drawn(5, 4, *size).detach()
    b = torch.linspace(-1, 1, 5, dtype=torch.float64) if bias else None
    pairs = (list(v) if isinstance(v, tuple) else [v, v] for v in (stride, padding))
    ours = forms.by_windows(x, weight, b, Settings(*pairs, [1, 1], False, [0, 0], 1))
    torch.testing.assert_close(ours, F.conv2d(x, weight, b, stride, padding), rtol=0, atol=1e-12)


@pytest.mark.parametrize("transposed", [False, True], ids=["conv", "transposed"])
@pytest.mark.parametrize(
    ("size", "stride", "padding"), [((4, 4), 2, 1), ((3, 3), 2, 1), ((3, 2), 1, 0), ((3, 3), (2, 1), (0, 2))], ids=str
)
def test_a_weights_gradient_is_a_product_of_matrices(size, stride, padding, transposed):
    x, weight = drawn(3, 4, 9, 7), drawn(4, 5, *size) if transposed else drawn(5, 4, *size)
    y = (F.conv_transpose2d if transposed else F.conv2d)(x, weight, stride=stride, padding=padding)
    g = torch.randn_like(y)
    pairs = (list(v) if isinstance(v, tuple) else [v, v] for v in (stride, padding))
    settings = Settings(*pairs, [1, 1], transposed, [0, 0], 1)
    ours = forms.by_product(g, x.detach(), weight.shape, settings)
    torch.testing.assert_close(ours, torch.autograd.grad(y, weight, g)[0], rtol=0, atol=1e-12)


def bfloat16_errors(function, x, weight, options):
    """Relative errors of the weight's gradient: of the forms, and of PyTorch's own."""
    x, weight = x.detach().bfloat16(), weight.detach().bfloat16()
    errors = []
    exact = None
    for context, dtype in ((None, torch.float64), (FastConvolutions, torch.bfloat16), (None, torch.bfloat16)):
        a, w = x.to(dtype), weight.to(dtype).requires_grad_()
        if context is None:
            y = function(a, w, **options)
        else:
            with context():
                y = function(a, w, **options)
        g = torch.ones_like(y) * torch.linspace(-1, 1, y.shape[-1], dtype=torch.bfloat16).to(dtype)
        gradient = torch.autograd.grad(y, w, g)[0].double()
        exact = gradient if exact is None else exact
        errors.append(((gradient - exact).norm() / exact.norm()).item())
    return errors[1:]


@pytest.mark.parametrize(
    ("function", "x", "weight"),
    [(F.conv2d, (4, 8, 8, 8), (16, 8, 4, 4)), (F.conv_transpose2d, (4, 16, 4, 4), (16, 8, 4, 4))],
    ids=["conv", "transposed"],
)
def test_small_maps_take_the_product_in_bfloat16_and_are_as_exact(function, x, weight, taken):
    ours, theirs = bfloat16_errors(function, drawn(*x), drawn(*weight), {"stride": 2, "padding": 1})
    assert taken == {"by_product"}
    assert ours < 4e-3
    assert ours < 1.5 * theirs + 1e-4


def test_a_doubling_to_even_sides_takes_the_product_too(taken):
    options = {"stride": 2, "padding": 1, "output_padding": 1}
    ours, theirs = bfloat16_errors(F.conv_transpose2d, drawn(4, 8, 4, 4), drawn(8, 16, 3, 3), options)
    assert taken == {"by_product"}
    assert ours < 1.5 * theirs + 1e-4


# Function, shapes of x and of the weight, options, and whether the value, or the gradient in x, is the product.
FEW = {
    "a halving": (F.conv2d, (4, 16, 4, 4), (16, 16, 3, 3), {"stride": 2, "padding": 1}, True),
    "a whole map": (F.conv2d, (4, 16, 4, 4), (16, 16, 4, 4), {}, True),
    "a doubling": (F.conv_transpose2d, (4, 16, 2, 2), (16, 16, 3, 3), {"stride": 2, "padding": 1}, True),
    "borders": (F.conv2d, (4, 16, 4, 4), (16, 16, 3, 3), {"padding": 1}, False),
    "few channels": (F.conv2d, (4, 8, 4, 4), (16, 8, 3, 3), {"stride": 2, "padding": 1}, False),
    "large maps": (F.conv2d, (4, 16, 48, 48), (16, 16, 3, 3), {"stride": 2, "padding": 1}, False),
    "long windows": (F.conv2d, (8, 128, 16, 16), (16, 128, 4, 4), {"stride": 2, "padding": 1}, True),
    "short windows": (F.conv2d, (8, 64, 16, 16), (16, 64, 4, 4), {"stride": 2, "padding": 1}, False),
    "long windows without a stride": (F.conv2d, (8, 256, 8, 8), (16, 256, 3, 3), {"padding": 1}, False),
}


@pytest.mark.parametrize("case", FEW)
def test_few_windows_are_a_product_in_bfloat16_and_as_exact(case, monkeypatch, taken):
    function, x_shape, weight_shape, options, expected = FEW[case]
    monkeypatch.setattr(choice, "few_positions", lambda: choice.Few(0, 0, value=256, long=512))
    x, weight = (drawn(*shape).detach().bfloat16().requires_grad_() for shape in (x_shape, weight_shape))
    with FastConvolutions():
        y = function(x, weight, **options)
    exact = function(*(inputs := [t.detach().double().requires_grad_() for t in (x, weight)]), **options)
    g = torch.randn_like(y)
    for a, b in zip((y, *torch.autograd.grad(y, [x, weight], g)),
                    (exact, *torch.autograd.grad(exact, inputs, g.double())), strict=True):  # fmt: skip
        assert (a.double() - b).norm() < 4e-3 * b.norm()
    assert taken == ({"by_windows"} if expected else set())


PROCESSORS = {
    "no tiles": ({"avx512_bf16": True}, choice.WITHOUT_TILES),
    "Zen 5": ({"avx512_bf16": True, "avx512_vp2intersect": True, "cpu_name": "AMD EPYC"}, choice.ZEN_5),
    "tiles": ({"avx512_bf16": True, "avx512_vp2intersect": True, "amx_bf16": True}, choice.Few()),
    "neither": ({"avx2": True}, choice.Few()),
}


@pytest.mark.parametrize("processor", PROCESSORS)
def test_forms_are_those_of_the_processor(processor, monkeypatch):
    can, few = PROCESSORS[processor]
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: can)
    monkeypatch.setattr(choice, "is_zen_5", choice.is_zen_5.__wrapped__)
    assert choice.few_positions.__wrapped__() == few


def test_a_stride_lets_more_positions_be_a_product(monkeypatch, taken):
    monkeypatch.setattr(choice, "few_positions", lambda: choice.Few(gradient=64, strided=256))
    bfloat16_errors(F.conv2d, drawn(2, 4, 16, 16), drawn(8, 4, 3, 3), {"padding": 1})
    assert not taken
    ours, theirs = bfloat16_errors(F.conv2d, drawn(2, 4, 16, 16), drawn(8, 4, 3, 3), {"padding": 1, "stride": 2})
    assert taken == {"by_product"}
    assert ours < 1.5 * theirs + 1e-4


def test_large_maps_and_grouped_channels_keep_pytorchs_gradient(taken):
    bfloat16_errors(F.conv2d, drawn(2, 4, 48, 48), drawn(8, 4, 3, 3), {"padding": 1})
    bfloat16_errors(F.conv2d, drawn(4, 8, 8, 8), drawn(16, 4, 3, 3), {"padding": 1, "groups": 2})
    bfloat16_errors(F.conv2d, drawn(4, 8, 8, 8), drawn(16, 8, 3, 3), {"padding": 2, "dilation": 2})
    assert not taken


@pytest.mark.parametrize("layer", [nn.ReLU(), nn.LeakyReLU(0.2)], ids=["relu", "leaky_relu"])
def test_a_gradient_is_laid_out_as_its_activation(layer):
    x = torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last).requires_grad_()
    with FastConvolutions():
        y = layer(x)
    g = torch.randn(2, 3, 4, 5)
    (ours,) = torch.autograd.grad(y, x, g)
    assert ours.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(ours, torch.autograd.grad(layer(x), x, g)[0])


def test_padding_keeps_layout_and_precision():
    x = torch.randn(2, 3, 4, 5, dtype=torch.bfloat16).to(memory_format=torch.channels_last)
    padding = nn.ReflectionPad2d(1)
    with torch.autocast("cpu", torch.bfloat16):
        plain = padding(x)
        with FastConvolutions():
            ours = padding(x)
    assert plain.dtype == torch.float32  # what is avoided
    assert ours.dtype == torch.bfloat16
    assert torch.equal(ours.float(), plain)


@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize("side", [4, 32], ids=["small", "large"])
@pytest.mark.parametrize("affine", [False, True], ids=["plain", "affine"])
def test_instance_norm_and_its_gradients_are_pytorchs_and_keep_their_layout(n, side, affine):
    x = drawn(n, 16, side, side + 1).detach().to(memory_format=torch.channels_last).requires_grad_()
    norm = nn.InstanceNorm2d(16, affine=affine).double()
    with FastConvolutions():
        y = norm(x)
    mean, variance = x.mean((2, 3), keepdim=True), x.var((2, 3), unbiased=False, keepdim=True)
    gain, bias = (p.view(-1, 1, 1) for p in norm.parameters()) if affine else (1, 0)
    exact = gain * (x - mean) / (variance + norm.eps).sqrt() + bias
    torch.testing.assert_close(y, exact, rtol=0, atol=1e-12)
    inputs, g = [x, *norm.parameters()], torch.randn_like(y)  # PyTorch's of one image is wrong for a g laid out so
    ours, theirs = torch.autograd.grad(y, inputs, g), torch.autograd.grad(exact, inputs, g)
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-11)
    assert y.is_contiguous(memory_format=torch.channels_last)
    assert side == 4 or ours[0].is_contiguous(memory_format=torch.channels_last)


def test_a_weight_is_converted_once_and_its_gradients_are_added_in_float32():
    weight = torch.randn(4, 4, 3, 3, generator=torch.Generator().manual_seed(0)).requires_grad_()
    x = torch.randn(2, 4, 6, 6, dtype=torch.bfloat16, generator=torch.Generator().manual_seed(1))
    with torch.autocast("cpu", torch.bfloat16), FastConvolutions() as mode:
        uses = [F.conv2d(part, weight) for part in x.split(1)]
        assert len(mode._casts) == 1
        apart = [torch.autograd.grad(F.conv2d(part, weight).sum(), weight)[0] for part in x.split(1)]
        (together,) = torch.autograd.grad(uses[0].sum() + uses[1].sum(), weight)
        with torch.no_grad():
            weight.mul_(2)  # a power of two, which bfloat16 follows exactly
        doubled = F.conv2d(x, weight)
    assert together.dtype == torch.float32
    assert torch.equal(together, apart[0] + apart[1])
    assert torch.equal(doubled, 2 * torch.cat(uses))


def test_a_mean_of_windows_gives_a_gradient_of_its_layout():
    x = torch.randn(2, 3, 4, 4).to(memory_format=torch.channels_last).requires_grad_()
    with DirectDoubleBackward():
        y = F.avg_pool2d(x, 2)
    (ours,) = torch.autograd.grad(y, x, g := torch.randn_like(y))
    assert ours.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(ours, torch.autograd.grad(F.avg_pool2d(x, 2), x, g)[0])


def test_a_map_takes_its_weights_layout():
    x, weight = torch.randn(2, 4, 6, 6), torch.randn(8, 4, 3, 3).to(memory_format=torch.channels_last)
    with FastConvolutions():
        assert F.conv2d(x, weight).is_contiguous(memory_format=torch.channels_last)
        assert F.conv2d(x, weight.contiguous()).is_contiguous()


@pytest.mark.parametrize("case", CASES)
def test_second_derivatives_are_pytorchs(case):
    function, x_shape, weight_shape, (stride, padding), _ = CASES[case]
    inputs = drawn(*x_shape), drawn(*weight_shape)

    def second():
        value = function(*inputs, stride=stride, padding=padding).pow(3).mean()
        (first,) = torch.autograd.grad(value, inputs[0], create_graph=True)
        return torch.autograd.grad(first.square().sum(), inputs)

    with FastConvolutions():
        ours = second()
    for a, b in zip(ours, second(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)
