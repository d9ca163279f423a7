"""The bottlenecks' formulas by brute force in float64."""

import itertools
import math

import pytest
import torch
from torch.distributions import Categorical, Normal, kl_divergence

from lit_gen.networks import FSQ, LFQ, GaussianBottleneck, VectorQuantizer

SHAPE = (3, 8, 12)


def maps(n, channels, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, channels, 2, 3, dtype=torch.float64, generator=generator)


# ---- Gaussian


def test_the_divergence_and_the_sample_of_a_gaussian():
    bottleneck, x, noise = GaussianBottleneck(SHAPE, channels=3, kl_weight=0.2), maps(4, 6), maps(4, 3, seed=1)
    q = Normal(x[:, :3], (x[:, 3:] / 2).exp())
    nats = kl_divergence(q, Normal(0.0, 1.0)).flatten(1).sum(1).mean()
    code = bottleneck(x, noise)
    torch.testing.assert_close(code.values["kl_nats"], nats, rtol=1e-10, atol=0)
    torch.testing.assert_close(code.loss, 0.2 * nats / (3 * 8 * 12), rtol=1e-10, atol=0)
    torch.testing.assert_close(code.bits, nats / math.log(2), rtol=1e-10, atol=0)
    torch.testing.assert_close(code.latents, q.loc + q.scale * noise, rtol=1e-10, atol=0)
    assert torch.equal(bottleneck(x).latents, q.loc)


def test_no_log_variance_is_beyond_30_nor_without_a_gradient():
    raw = torch.tensor([-1e3, -50.0, -20.0, 0.0, 20.0, 50.0, 1e3], dtype=torch.float64).reshape(-1, 1, 1, 1)
    raw.requires_grad_()
    x = torch.cat([torch.zeros_like(raw), raw], 1)
    log_scale = GaussianBottleneck(SHAPE, channels=1).posterior(x)[1]
    assert (2 * log_scale).abs().max() < 30
    assert torch.equal(log_scale[2:5], raw[2:5] / 2)
    assert (torch.autograd.grad(log_scale.sum(), raw)[0] > 0).all()


# ---- FSQ


@pytest.mark.parametrize("levels", [(8, 5, 5, 5), (2, 3), (4, 7, 6)])
def test_a_code_is_the_nearest_level_of_each_channel(levels):
    """By a loop over values and levels, from the paper's formula."""
    bottleneck, x = FSQ(SHAPE, levels), 2 * maps(6, len(levels))
    latents, numbers = bottleneck(x).latents, bottleneck.indices(x)
    for n, row, column in itertools.product(range(6), range(2), range(3)):
        number, place = 0, 1
        for i, level in enumerate(levels):
            offset = 0.5 if level % 2 == 0 else 0.0
            reach = (level - 1) * 1.001 / 2
            value = math.tanh(x[n, i, row, column].item() + math.atanh(offset / reach)) * reach - offset
            digits = range(-(level // 2), (level - 1) // 2 + 1)
            assert len(digits) == level
            nearest = min(digits, key=lambda digit: abs(digit - value))
            assert latents[n, i, row, column].item() == pytest.approx(nearest / (level // 2))
            number, place = number + (nearest + level // 2) * place, place * level
        assert numbers[n, row, column].item() == number


def correlated(n, seed=0):
    """Maps whose channels go together, as an encoder's do, away from zero and of three scales."""
    mixing = torch.tensor([[0.3, 0.02, 0.0], [-0.2, 0.01, 0.02], [1.0, 0.1, 0.3]], dtype=torch.float64)
    offset = torch.tensor([0.5, -0.2, 1.0], dtype=torch.float64)[:, None, None]
    return torch.einsum("ij,njhw->nihw", mixing, maps(n, 3, seed)) + offset


def whitened(levels=(8, 5, 3), **options):
    return FSQ(SHAPE, levels, whiten=True, **options).double()


def test_what_is_whitened_is_uncorrelated_and_as_wide_as_the_levels():
    bottleneck, x = whitened(decay=0.0), correlated(400)
    bottleneck.learn(x, torch.Generator())
    moments = torch.distributions.Uniform(0.0, 1.0).icdf(torch.linspace(1e-6, 1 - 1e-6, 2_000_001).double())
    spread = (2 * moments - 1).atanh().std()
    z = bottleneck._whitened(x).movedim(1, 0).flatten(1)
    torch.testing.assert_close(z.mean(1), torch.zeros(3).double(), rtol=0, atol=1e-10)
    torch.testing.assert_close(z.cov(correction=0), spread**2 * torch.eye(3).double(), rtol=0, atol=1e-4)


def test_moments_of_whitening_move_from_the_first_batch_on():
    bottleneck, first, second = whitened(decay=0.9), correlated(50), correlated(50, seed=1) + 1
    bottleneck.learn(first, torch.Generator())
    bottleneck.learn(second, torch.Generator())
    a, b = (x.movedim(1, 0).flatten(1) for x in (first, second))
    mean = 0.9 * a.mean(1) + 0.1 * b.mean(1)
    off = b - mean[:, None]
    torch.testing.assert_close(bottleneck.mean, mean)
    torch.testing.assert_close(bottleneck.covariance, 0.9 * a.cov(correction=0) + 0.1 * off @ off.T / off.shape[1])


def test_whitening_uses_codes_that_correlated_channels_leave_out():
    x = correlated(4000)
    used = {}
    for whiten in (False, True):
        bottleneck = FSQ(SHAPE, (8, 5, 3), whiten=whiten).double()
        bottleneck.learn(x, torch.Generator())
        used[whiten] = len(bottleneck.indices(x).unique())
    assert used[False] < 60
    assert used[True] == 120


def test_a_channel_that_says_nothing_is_whitened_to_something_finite():
    bottleneck, x = whitened((4, 3)), maps(10, 2)
    x[:, 1] = 0.7
    bottleneck.learn(x, torch.Generator())
    assert bottleneck(x).latents.isfinite().all()
    assert len(bottleneck.indices(x).unique()) == 4


def test_zero_is_in_the_middle():
    assert FSQ(SHAPE, (8, 5, 2)).bound(torch.zeros(1, 3, 1, 1)).abs().max() < 1e-6


def test_the_levels_run_from_minus_one():
    values = FSQ(SHAPE, (8, 5)).lookup(torch.arange(40).reshape(-1, 1, 1))
    assert values[:, 0].unique().tolist() == [-1, -0.75, -0.5, -0.25, 0, 0.25, 0.5, 0.75]
    assert values[:, 1].unique().tolist() == [-1, -0.5, 0, 0.5, 1]


# ---- LFQ


def brute_force(x, temperature):
    """E H(p), H(E p) over all codes, of p ∝ exp(−‖h − c‖² / τ) at every position."""
    codes = torch.tensor(list(itertools.product([-1.0, 1.0], repeat=x.shape[1])), dtype=torch.float64)
    h = x.movedim(1, -1).reshape(-1, x.shape[1])
    p = (-(h[:, None] - codes).square().sum(2) / temperature).softmax(1)
    return Categorical(p).entropy().mean(), Categorical(p.mean(0)).entropy()


@pytest.mark.parametrize("bits", [1, 2, 5])
def test_the_entropies_are_those_over_all_codes(bits):
    bottleneck, x = LFQ(SHAPE, bits, temperature=0.7).double(), maps(4, bits).requires_grad_()
    found, expected = bottleneck.entropies(x), brute_force(x, 0.7)
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=0)
        torch.testing.assert_close(*(torch.autograd.grad(e, x, retain_graph=True)[0] for e in (ours, theirs)))


def test_the_loss_of_lfq():
    bottleneck, x = LFQ(SHAPE, 4, entropy_weight=0.3, diversity=0.8, commitment=0.2, temperature=0.5), maps(4, 4)
    sure, spread = brute_force(x, 0.5)
    commitment = (x - x.sign()).square().mean()
    torch.testing.assert_close(bottleneck(x).loss, 0.3 * (sure - 0.8 * spread) + 0.2 * commitment)


def test_entropies_of_far_signs_are_finite():
    """At a temperature of 0.01, where probabilities underflow: sure codes, and their number's logarithm."""
    signs = torch.tensor(list(itertools.product([-1.0, 1.0], repeat=3)))[:, :, None, None].requires_grad_()
    sure, spread = LFQ(SHAPE, 3, temperature=0.01).entropies(signs)
    assert sure.item() == pytest.approx(0, abs=1e-6)
    assert spread.item() == pytest.approx(3 * math.log(2), rel=1e-6)
    assert torch.autograd.grad(sure - spread, signs)[0].isfinite().all()


# ---- vectors


def quantizer(**options):
    torch.manual_seed(0)
    return VectorQuantizer(SHAPE, **{"codes": 7, "channels": 3, "restart_below": 0.0, **options}).double()


def rows(x):
    return x.movedim(1, -1).reshape(-1, x.shape[1])


def generator():
    return torch.Generator().manual_seed(1)


def test_the_nearest_vector_and_the_commitment():
    bottleneck, x = quantizer(commitment=0.3), maps(5, 3).requires_grad_()
    distances = (rows(x)[:, None] - bottleneck.codebook).square().sum(2)
    assert torch.equal(bottleneck.indices(x).flatten(), distances.argmin(1))
    code = bottleneck(x)
    expected = 0.3 * distances.amin(1).mean() / 3
    torch.testing.assert_close(code.loss, expected)
    torch.testing.assert_close(torch.autograd.grad(code.loss, x)[0], 0.3 * 2 * (x - code.latents).detach() / x.numel())


def test_without_decay_an_update_is_a_step_of_k_means():
    """Every code goes to the mean of what is nearest to it; one that nothing is nearest to stays."""
    bottleneck, x = quantizer(decay=0.0), maps(5, 3)
    bottleneck.learn(x, generator())
    bottleneck.codebook[2] = 100.0
    before, vectors = bottleneck.codebook.clone(), rows(x)
    bottleneck.learn(x, generator())
    nearest = torch.cdist(vectors, before).argmin(1)
    for k in range(7):
        expected = vectors[nearest == k].mean(0) if (nearest == k).any() else before[k]
        torch.testing.assert_close(bottleneck.codebook[k], expected)
    assert torch.equal(bottleneck.codebook[2], before[2])


def test_the_codebook_follows_moving_means():
    """Equations 6 to 8 of the paper's appendix, by hand over three batches."""
    bottleneck = quantizer(decay=0.9)
    first = maps(5, 3)
    bottleneck.learn(first, generator())
    counts = torch.zeros(7, dtype=torch.float64)
    sums = torch.zeros(7, 3, dtype=torch.float64)
    chosen = rows(first)[torch.randperm(30, generator=generator())[:7]]
    book = chosen.clone()
    for step, decay in enumerate([0.0, 0.9, 0.9]):
        x = first if step == 0 else maps(5, 3, seed=step)
        if step:
            bottleneck.learn(x, generator())
        nearest = torch.cdist(rows(x), book).argmin(1)
        for k in range(7):
            mine = rows(x)[nearest == k]
            counts[k] = decay * counts[k] + (1 - decay) * len(mine)
            sums[k] = decay * sums[k] + (1 - decay) * mine.sum(0)
            book[k] = sums[k] / counts[k]
        torch.testing.assert_close(bottleneck.codebook, book)


def test_codes_out_of_use_begin_anew_in_the_batch():
    bottleneck = quantizer(codes=4, decay=0.5, restart_below=0.2)
    bottleneck.learn(maps(5, 3), generator())
    bottleneck.codebook[1], bottleneck.sums[1] = 1e3, 1e3 * bottleneck.counts[1]
    for seed in range(1, 12):
        x = maps(5, 3, seed=seed)
        bottleneck.learn(x, generator())
        near = torch.cdist(bottleneck.codebook, rows(x)).amin(1)
        if bottleneck.codebook[1].max() < 100:
            break
    assert near[1] < 1e-6
    assert bottleneck.counts[1] == pytest.approx(30 / 4)
    assert seed > 2, "its count decays from a fair share"


def test_the_first_batch_gives_the_vectors_even_if_it_has_fewer():
    bottleneck, x = quantizer(codes=50, decay=0.99), maps(2, 3)
    bottleneck.learn(x, generator())
    assert torch.cdist(bottleneck.codebook, rows(x)).amin(1).max() < 1e-6


def test_evaluation_never_moves_a_codebook():
    bottleneck = quantizer().eval()
    before = {key: value.clone() for key, value in bottleneck.state_dict().items()}
    bottleneck(maps(5, 3))
    bottleneck.train()(maps(5, 3))
    assert all(torch.equal(value, before[key]) for key, value in bottleneck.state_dict().items())
