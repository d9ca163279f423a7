"""Float32 products by another library: the same numbers, of large dense matrices alone, while they are asked for."""

from functools import partial

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from lit_gen import GAN, fit
from lit_gen.callbacks import Speed
from lit_gen.kernels import fast_products, processor, products
from lit_gen.networks import MLPDiscriminator, MLPGenerator, add_spectral_norm

pytestmark = pytest.mark.skipif(not products.available(), reason="this build of PyTorch has no oneDNN")


@pytest.fixture
def taken(monkeypatch):
    """The shapes that oneDNN multiplies, in order."""
    shapes, product = [], products._product
    monkeypatch.setattr(products, "_product", lambda a, b, c: shapes.append((*a.shape, b.shape[1])) or product(a, b, c))
    fast_products(True)
    yield shapes
    fast_products(False)


def laid_out(rows, columns):
    """A matrix in all kinds of memory."""
    yield torch.randn(rows, columns)
    yield torch.randn(columns, rows).t()
    yield torch.randn(rows, 2 * columns)[:, ::2]
    yield torch.randn(rows + 3, columns + 5)[3:, 5:]
    yield torch.randn(rows, 1).expand(rows, columns)
    yield torch.randn(1, columns).expand(rows, columns)


@pytest.mark.parametrize("sizes", [(256, 128, 128), (128, 130, 257), (4096, 1024, 1), (1, 4096, 1024)])
def test_products_are_as_exact_as_pytorchs(sizes, taken):
    torch.manual_seed(0)
    rows, inner, columns = sizes
    bias, count = torch.randn(columns), 0
    for a in laid_out(rows, inner):
        for b in laid_out(inner, columns):
            bound = (inner + 1) * 2**-24 * (a.double().abs() @ b.double().abs())  # of any order of a sum, rounded
            assert ((a @ b).double() - a.double() @ b.double()).abs().le(bound).all()
            exact = a.double() @ b.double() + bias.double()
            assert (torch.addmm(bias, a, b).double() - exact).abs().le(bound + (inner + 1) * 2**-24 * bias.abs()).all()
            count += 2 * (b.is_contiguous() or b.t().is_contiguous())
    assert taken == [sizes] * count


def test_a_linear_layer_and_its_derivatives(taken):
    torch.manual_seed(0)
    layer, x = nn.Linear(256, 128), torch.randn(128, 256, requires_grad=True)
    inputs = [x, *layer.parameters()]
    gradients = torch.autograd.grad(layer(x).square().sum(), inputs, create_graph=True)
    second = torch.autograd.grad(gradients[0].square().sum(), inputs[:2])
    assert len(taken) >= 5
    exact = [t.detach().double().requires_grad_() for t in inputs]
    of_exact = torch.autograd.grad(F.linear(*exact).square().sum(), exact, create_graph=True)
    expected = (*of_exact, *torch.autograd.grad(of_exact[0].square().sum(), exact[:2]))
    for mine, theirs in zip((*gradients, *second), expected, strict=True):
        assert (mine.double() - theirs).norm() < 1e-6 * theirs.norm()


def test_a_bias_in_any_memory(taken):
    torch.manual_seed(0)
    a, b = torch.randn(256, 128), torch.randn(128, 256)
    for bias in (torch.randn(512)[::2], torch.randn(256, 3)[:, 1], torch.randn(1).expand(256), torch.randn(257)[1:]):
        assert (torch.addmm(bias, a, b).double() - a.double() @ b.double() - bias.double()).abs().max() < 1e-4
    assert len(taken) == 4


def test_what_is_no_matrix_is_refused_as_by_pytorch(taken):
    matrix = torch.randn(256, 256)
    for a, b in [(matrix.flatten(), matrix), (matrix[0, 0], matrix), (matrix, torch.randn(256, 256, 2))]:
        for product in (lambda a, b: torch.mm(a, b), lambda a, b: torch.addmm(matrix[0], a, b)):
            with pytest.raises(RuntimeError, match="must be a matrix"):
                product(a, b)


def test_all_else_stays_pytorchs(taken):
    large = torch.randn(256, 256)
    assert torch.equal(large.double() @ large.double(), torch.mm(large.double(), large.double()))
    _ = large.bfloat16() @ large.bfloat16()
    _ = torch.randn(8, 8) @ torch.randn(8, 8)
    _ = torch.randn(0, 256) @ large
    _ = torch.addmm(torch.randn(256), large, large, beta=2)
    _ = torch.addmm(torch.randn(256), large, large, alpha=2)
    _ = torch.addmm(torch.randn(256, 256), large, large)
    _ = torch.addmm(torch.randn(1), large, large)
    assert not taken
    for a, b in [(large, torch.randn(300, 256)), (large, torch.randn(256, 256, dtype=torch.float64))]:
        with pytest.raises(RuntimeError):
            a @ b
    assert not taken


def test_they_are_pytorchs_again_once_removed(taken):
    x = torch.randn(256, 256)
    fast_products(True)
    assert len([x @ x, *taken]) == 2
    fast_products(False)
    assert len([x @ x, *taken]) == 2


@pytest.mark.parametrize(
    ("can", "expected"),
    [
        ({"avx512_bf16": True, "avx512_vp2intersect": True, "cpu_name": "AMD EPYC"}, True),
        ({"avx512_bf16": True, "cpu_name": "AMD EPYC"}, False),
        ({"avx512_bf16": True, "avx512_vp2intersect": True, "cpu_name": "Intel Xeon"}, False),
        ({}, False),
    ],
)
def test_the_processor_is_known_by_what_it_can_do(can, expected, monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: can)
    assert processor.is_zen_5.__wrapped__() is expected


@pytest.mark.parametrize(
    ("precision", "kernels", "width", "expected"),
    [
        ("32-true", True, 512, True),
        ("bf16-mixed", True, 512, False),
        ("32-true", False, 512, False),
        ("32-true", True, 256, False),
    ],
)
def test_training_takes_them_on_that_processor_in_float32(precision, kernels, width, expected, monkeypatch):
    monkeypatch.setattr(products, "is_zen_5", lambda: True)
    asked = []

    class Asked(GAN):
        def training_step(self, batch, batch_idx):
            asked.append(products._State.products is not None)
            super().training_step(batch, batch_idx)

    torch.manual_seed(0)
    module = Asked((2,), 2, generator=MLPGenerator, discriminator=partial(MLPDiscriminator, width=width))
    options = {"accelerator": "cpu", "max_steps": 1, "precision": precision, "callbacks": [Speed(kernels=kernels)]}
    fit(module, points(), **options)
    assert asked == [expected]
    assert products._State.products is None


def test_the_look_for_a_wide_layer_touches_no_weight(monkeypatch):
    monkeypatch.setattr(products, "is_zen_5", lambda: True)
    normed = nn.Linear(512, 256)
    add_spectral_norm(normed)
    before = {name: buffer.clone() for name, buffer in normed.state_dict().items()}
    assert products.gain(nn.Sequential(nn.LazyLinear(512), normed))
    assert all(torch.equal(before[name], buffer) for name, buffer in normed.state_dict().items())
    assert not products.gain(nn.LazyLinear(512))


def test_a_run_that_fails_leaves_pytorchs(monkeypatch):
    monkeypatch.setattr(products, "is_zen_5", lambda: True)

    class Failing(GAN):
        def training_step(self, batch, batch_idx):
            assert products._State.products is not None
            raise ArithmeticError

    module = Failing((2,), 2, generator=MLPGenerator, discriminator=partial(MLPDiscriminator, width=512))
    with pytest.raises(ArithmeticError):
        fit(module, points(), accelerator="cpu", max_steps=1, callbacks=[Speed()])
    assert products._State.products is None


def points():
    from datamodules import MixtureDataModule

    return MixtureDataModule(batch_size=16)
