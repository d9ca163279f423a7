"""Convolutions of 16 bits stay right where PyTorch's are wrong, which these tests make them for the shapes known."""

import warnings
from contextlib import contextmanager, nullcontext
from functools import partial

import lightning.pytorch as L
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from lit_gen import GAN
from lit_gen.callbacks import Speed
from lit_gen.cli.commands import doctor
from lit_gen.kernels import DirectDoubleBackward, FastConvolutions, guard, guard_convolutions, trial
from lit_gen.kernels.trial import BACKWARD, BOUND, FORWARD, error_here, relative_error
from lit_gen.losses import R1
from lit_gen.metrics.extractors import ModuleExtractor
from lit_gen.metrics.fast_extractor import FastExtractor


def goes_wrong(channels, width, stride):
    """The rule that was found on processors with AMX."""
    product = channels * width
    return product % 32 == 0 and product >= 64 and channels < (32 if stride >= 4 else 16)


def damaged(y):
    return None if y is None else y.roll(1, -1) * 2


def faulty_forward(kernel, keys, *args):
    y, (x, weight), (stride, *_, transposed, _, groups) = kernel(keys, *args), args[:2], args[3:]
    channels = x.shape[1] // groups
    wrong = x.dtype == torch.bfloat16 and not transposed and goes_wrong(channels, weight.shape[-1], stride[-1])
    return damaged(y) if wrong else y


def faulty_backward(kernel, keys, *args):
    """A transposed convolution's gradient in x is a convolution of g; one in w has samples for channels."""
    of_x, of_weight, of_bias = kernel(keys, *args)
    (g, x, weight), (stride, *_, transposed, _, groups) = args[:3], args[4:10]
    if x.dtype == torch.bfloat16:
        if transposed and goes_wrong(g.shape[1] // groups, weight.shape[-1], stride[-1]):
            of_x = damaged(of_x)
        if goes_wrong(len(x), g.shape[-1], 1) or goes_wrong(x.shape[1] // groups, weight.shape[-1], stride[-1]):
            of_weight = damaged(of_weight)
    return of_x, of_weight, of_bias


@pytest.fixture
def unguarded():
    """A process in which nothing has been decided; whatever is decided is undone at the end."""
    before = guard._State.choice
    guard_convolutions("off")
    guard._State.choice = None
    error_here.cache_clear()
    yield
    guard_convolutions("off")
    error_here.cache_clear()
    guard._State.choice = before
    if before is not None:
        guard_convolutions(before)


@pytest.fixture
def faulty(unguarded):
    """PyTorch's kernels are wrong for the shapes of the rule, and right for all others, also where they are not."""
    # In float64 beneath, so that the processor's own faults have no part in what is compared.
    with torch.library._scoped_library("aten", "IMPL") as library:
        for op, fault in ((FORWARD, faulty_forward), (BACKWARD, faulty_backward)):
            kernel = partial(exact, torch.library.get_kernel(op, "CPU").call_boxed)
            library.impl(op, partial(fault, kernel), "CPU", with_keyset=True)
        yield
        guard_convolutions("off")


def exact(kernel, keys, *args):
    """A kernel for 16 bits that computes in float64."""
    dtype = args[0].dtype
    results = kernel(keys, *(arg.double() if isinstance(arg, torch.Tensor) else arg for arg in args))
    if isinstance(results, torch.Tensor):
        return results.to(dtype)
    return tuple(None if result is None else result.to(dtype) for result in results)


# Function, shapes of input and weight, options: convolutions whose value or gradients the rule hits.
CASES = {
    "conv1d": (F.conv1d, (2, 8, 64), (16, 8, 8), {"stride": 8}),
    "patches of four channels": (F.conv2d, (2, 4, 32, 32), (64, 4, 16, 16), {"stride": 16}),
    "patches of eight channels": (F.conv2d, (3, 8, 16, 16), (16, 8, 8, 8), {"stride": 8}),
    "halving": (F.conv2d, (2, 16, 16, 16), (8, 16, 4, 4), {"stride": 4}),
    "grouped": (F.conv2d, (2, 16, 9, 9), (32, 8, 8, 8), {"groups": 2}),
    "transposed": (F.conv_transpose2d, (3, 16, 4, 4), (16, 8, 8, 8), {"stride": 2}),
    "an even batch": (F.conv2d, (8, 3, 8, 8), (6, 3, 3, 3), {"padding": 1}),
}


def tensors(case, dtype, layout=torch.contiguous_format):
    function, *shapes, options = CASES[case]
    generator = torch.Generator().manual_seed(0)
    inputs = [torch.randn(shape, generator=generator).bfloat16().to(dtype) for shape in shapes]
    if inputs[0].ndim == 4:
        inputs = [tensor.to(memory_format=layout) for tensor in inputs]
    return partial(function, **options), [tensor.requires_grad_() for tensor in inputs]


def all_derivatives(function, inputs):
    """Value, gradients, and gradients of the input gradient's square."""
    value = function(*inputs)
    first = torch.autograd.grad(value.float().square().sum(), inputs, create_graph=True)
    second = torch.autograd.grad(first[0].float().square().sum(), inputs)
    return [tensor.detach() for tensor in (value, *first, *second)]


def errors(case, context=nullcontext, layout=torch.contiguous_format):
    exactly = all_derivatives(*tensors(case, torch.float64))
    with context():
        ours = all_derivatives(*tensors(case, torch.bfloat16, layout))
    return [relative_error(a, b) for a, b in zip(ours, exactly, strict=True)]


@contextmanager
def both():
    with FastConvolutions(), DirectDoubleBackward():
        yield


@pytest.mark.parametrize("case", CASES)
def test_the_fault_is_there_and_the_guard_finds_it(case, faulty):
    assert max(errors(case)) > 0.3
    guard_convolutions()
    with pytest.warns(UserWarning, match=r"bfloat16 convolution is off by \d+%"):
        found = errors(case)
    assert max(found) < BOUND


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=["first", "last"])
@pytest.mark.parametrize("context", [FastConvolutions, DirectDoubleBackward, both])
@pytest.mark.filterwarnings("ignore:PyTorch's bfloat16")
def test_within_the_kernels_too(context, layout, faulty):
    guard_convolutions()
    for case in CASES:
        assert max(errors(case, context, layout)) < BOUND, case


@pytest.mark.filterwarnings("ignore:PyTorch's bfloat16")
def test_under_autocast_without_gradients_and_in_any_thread(faulty):
    function, (x, weight) = tensors("patches of four channels", torch.float32)
    exactly = function(x, weight)
    guard_convolutions()
    for context in (torch.no_grad, torch.inference_mode, nullcontext):
        with context(), torch.autocast("cpu", torch.bfloat16):
            y = function(x, weight)
        assert y.dtype == torch.bfloat16
        assert relative_error(y.detach(), exactly.detach()) < BOUND
    (gradient,) = torch.autograd.grad(y.float().square().sum() / 2, weight)
    (expected,) = torch.autograd.grad(exactly.square().sum() / 2, weight)
    assert relative_error(gradient, expected) < BOUND


@pytest.mark.filterwarnings("ignore:PyTorch's bfloat16")
def test_a_result_has_the_layout_and_precision_that_pytorchs_has(faulty):
    guard_convolutions("off")
    plain = {layout: all_strides(layout) for layout in (torch.contiguous_format, torch.channels_last)}
    guard_convolutions("on")
    assert plain == {layout: all_strides(layout) for layout in plain}


def all_strides(layout):
    function, inputs = tensors("halving", torch.bfloat16, layout)
    value = function(*inputs)
    results = (value, *torch.autograd.grad(value, inputs, torch.ones_like(value)))
    return [(result.dtype, result.stride()) for result in results]


def test_what_is_done_depends_on_shapes_alone_and_is_said_once(faulty):
    function, (x, weight) = tensors("patches of four channels", torch.bfloat16)
    found = guard_convolutions()
    with warnings.catch_warnings(record=True) as caught, torch.no_grad():
        warnings.simplefilter("always")
        assert not function(x * 0, weight).any()  # nothing to see in zeros, which are checked all the same
        assert found.wrong == 1
        function(x, weight)
        assert found.wrong == 1
        function(x[:1], weight)
        assert found.wrong == 2
        function(x.float(), weight.float())
        function(x[:0], weight)
        assert F.conv2d(x, weight[..., :3, :3]).isfinite().all()
    assert len(caught) == 1
    told = str(caught[0].message)
    assert "input [2, 4, 32, 32], weight [64, 4, 16, 16], stride [16, 16], groups 1" in told


@pytest.mark.filterwarnings("ignore:PyTorch's bfloat16")
def test_random_numbers_of_the_run_are_left_alone(faulty):
    guard_convolutions()
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    errors("halving")
    assert torch.equal(torch.rand(3), expected)


def test_a_part_of_the_result_left_as_the_memory_was_is_found():
    """A kernel that fills all but the first of what it returns, and is right where the memory happens to be cleared."""

    def careless(x, weight, *settings):
        result = torch.empty_like(weight) if x.dtype == torch.bfloat16 else torch.zeros_like(weight)
        result[1:] = weight[1:]
        return result

    x, weight = torch.ones(2, 16, 3, 3).bfloat16(), torch.ones(32, 16, 3, 3).bfloat16()
    assert trial.try_out(careless, (x, weight, None, [1, 1], [0, 0], [1, 1], False, [0, 0], 1))[0] > BOUND


def test_nothing_is_installed_where_all_is_right(unguarded, monkeypatch):
    monkeypatch.setattr(guard, "error_here", lambda: 0.003)
    assert guard_convolutions() is None
    assert guard_convolutions("on") is not None
    assert guard_convolutions() is not None  # as was chosen
    assert guard_convolutions("auto") is None
    monkeypatch.setattr(guard, "error_here", lambda: 0.7)
    assert guard_convolutions() is None
    assert guard_convolutions("auto") is not None
    assert guard_convolutions("off") is None
    with pytest.raises(ValueError, match="guard='yes': 'auto', 'on' or 'off'"):
        guard_convolutions("yes")
    with pytest.raises(ValueError, match="guard=None: 'auto', 'on' or 'off'"):
        Speed(guard=None)


def test_the_trial_finds_the_fault_and_only_that(faulty):
    assert error_here() > 0.3


def test_the_trial_finds_nothing_in_right_kernels(unguarded):
    with torch.library._scoped_library("aten", "IMPL") as library:
        for op in (FORWARD, BACKWARD):
            library.impl(op, partial(exact, torch.library.get_kernel(op, "CPU").call_boxed), "CPU", with_keyset=True)
        assert 1e-4 < error_here() < 0.01
        assert guard_convolutions() is None


@pytest.mark.parametrize(("error", "told"), [(0.0025, "off by 0.2%: no guard needed"), (0.97, "off by 97%: guarded")])
def test_doctor_says_whether_this_machine_needs_it(error, told, monkeypatch):
    monkeypatch.setattr(doctor, "error_here", lambda: error)
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    assert told in doctor._convolutions()
    assert "ONEDNN_MAX_CPU_ISA=AVX2" in doctor._convolutions()


def critic_gradients(dtype):
    """Of R1 of a critic whose first layer the rule hits, its points and its second derivatives too."""
    torch.manual_seed(0)
    critic = nn.Sequential(nn.Conv2d(4, 16, 16, 16), nn.Softplus(), nn.Flatten(), nn.Linear(64, 1), nn.Flatten(0))
    images = torch.randn(4, 4, 32, 32)
    critic, images = critic.to(dtype), images.to(dtype)
    with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.float32):
        R1()(critic, images, images, torch.rand(4)).backward()
    return torch.cat([p.grad.flatten() for p in critic.parameters() if p.grad is not None])


@pytest.mark.filterwarnings("ignore:PyTorch's bfloat16")
def test_penalties_are_right_by_themselves(faulty):
    guard_convolutions("off")
    assert relative_error(critic_gradients(torch.float32), critic_gradients(torch.float64)) > 0.3
    guard._State.choice = None
    assert relative_error(critic_gradients(torch.float32), critic_gradients(torch.float64)) < BOUND


class Player(nn.Module):
    """A user's own network of layers that the rule hits, called as the library calls a generator or discriminator."""

    def __init__(self, image_shape, latent_dim=None, num_classes=None):
        super().__init__()
        if latent_dim is None:
            self.layers = nn.Sequential(nn.Conv2d(4, 16, 16, 16), nn.LeakyReLU(0.2), nn.Flatten(), nn.Linear(16, 1))
        else:
            last = nn.Conv2d(8, 4, 8, padding="same")
            self.layers = nn.Sequential(nn.Linear(latent_dim, 8 * 256), nn.Unflatten(1, (8, 16, 16)), last, nn.Tanh())

    def forward(self, x):
        y = self.layers(x)
        return y.flatten() if y.ndim == 2 else y


def stepped(precision, **options):
    """The change of all weights by one step of both players, and what is sampled and scored afterwards."""
    torch.manual_seed(0)
    sgd = partial(torch.optim.SGD, lr=0.5)
    networks = {"generator": Player, "discriminator": Player}
    module = GAN((4, 16, 16), 8, **networks, generator_optimizer=sgd, discriminator_optimizer=sgd, ema_half_life=None)
    start = {name: value.clone() for name, value in module.state_dict().items()}
    images = torch.rand(8, 4, 16, 16, generator=torch.Generator().manual_seed(1)) * 2 - 1
    batches = DataLoader(TensorDataset(images, torch.zeros(8).long()), batch_size=8)
    trainer = L.Trainer(
        accelerator="cpu", max_steps=1, precision=precision, callbacks=[Speed(**options)], logger=False,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    L.seed_everything(0, verbose=False)
    trainer.fit(module, batches)
    step = [(value - start[name]).flatten().double() for name, value in module.state_dict().items()]
    module.load_state_dict(start)
    L.seed_everything(0, verbose=False)
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16-mixed"):
        return torch.cat(step), module.sample(4), module.score(images)


@pytest.mark.filterwarnings("ignore")
def test_training_samples_and_scores_of_a_users_own_networks(faulty, caplog):
    exactly, said = stepped("32-true"), "shapes of convolutions or their gradients were computed in float32"
    assert said not in caplog.text
    guarded = stepped("bf16-mixed")
    assert said in caplog.text
    off = stepped("bf16-mixed", guard="off")
    assert [relative_error(a, b) < 0.05 for a, b in zip(guarded, exactly, strict=True)] == [True] * 3
    assert [relative_error(a, b) > 0.2 for a, b in zip(off, exactly, strict=True)] == [True] * 3


@pytest.mark.filterwarnings("ignore:PyTorch's bfloat16")
def test_features_of_an_extractor(faulty):
    torch.manual_seed(0)
    network, images = nn.Sequential(nn.Conv2d(4, 16, 16, 16), nn.ReLU()), torch.randn(4, 4, 32, 32)
    extractor = ModuleExtractor((4, 32, 32), network, "patches")
    exactly = extractor.extract(images)[0]
    assert relative_error(FastExtractor(extractor, "bfloat16").extract(images)[0], exactly) < BOUND
    guard_convolutions("off")
    assert relative_error(FastExtractor(extractor, "bfloat16").extract(images)[0], exactly) > 0.3
