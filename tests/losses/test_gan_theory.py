"""The optimal discriminator, and the distance that each loss measures, on densities where both are known."""

import math

import pytest
import torch
from scipy.stats import wasserstein_distance
from torch import nn
from torch.nn.utils import parametrize

from lit_gen.losses import GradientPenalty, Hinge, LeastSquares, Minimax, NonSaturating, Wasserstein
from lit_gen.networks import MLPDiscriminator

# Two distributions on five states as samples of 60, so that a mean over samples is the exact expectation.
DATA = torch.tensor([20, 16, 12, 8, 4])
MODEL = torch.tensor([3, 9, 12, 21, 15])
P, Q = DATA.double() / 60, MODEL.double() / 60
STATES = torch.arange(5)


def discriminator_loss(loss, table, data=DATA, model=MODEL):
    return loss.discriminator(table[STATES.repeat_interleave(data)], table[STATES.repeat_interleave(model)])


def optimal_table(loss, data=DATA, model=MODEL):
    """The score of each state that minimises the discriminator's loss, and the loss there."""
    table = torch.zeros(5, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS(
        [table], max_iter=200, tolerance_grad=1e-14, tolerance_change=0, line_search_fn="strong_wolfe"
    )

    def closure():
        optimizer.zero_grad()
        value = discriminator_loss(loss, table, data, model)
        value.backward()
        return value

    optimizer.step(closure)
    return table.detach(), closure().detach()


@pytest.mark.parametrize("loss", [NonSaturating(), Minimax()], ids=str)
def test_the_optimal_discriminator_is_the_posterior_of_the_data(loss):
    table, value = optimal_table(loss)
    torch.testing.assert_close(torch.sigmoid(table), P / (P + Q), rtol=1e-6, atol=1e-6)
    middle = (P + Q) / 2
    jensen_shannon = 0.5 * (P * (P / middle).log()).sum() + 0.5 * (Q * (Q / middle).log()).sum()
    assert -value.item() == pytest.approx(2 * jensen_shannon.item() - math.log(4), abs=1e-10)


@pytest.mark.parametrize("loss", [NonSaturating(real_label=0.7), Minimax(real_label=0.7)], ids=str)
def test_smoothed_labels_shrink_the_posterior(loss):
    table, _ = optimal_table(loss)
    torch.testing.assert_close(torch.sigmoid(table), 0.7 * P / (P + Q), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("loss", [NonSaturating(), Minimax()], ids=str)
def test_the_games_value_is_minus_log_four_where_the_model_is_the_data(loss):
    table, value = optimal_table(loss, DATA, DATA)
    torch.testing.assert_close(torch.sigmoid(table), torch.full((5,), 0.5, dtype=torch.float64))
    assert -value.item() == pytest.approx(-math.log(4), abs=1e-12)


@pytest.mark.parametrize("loss", [LeastSquares(), LeastSquares(1.0, -1.0, 0.0)], ids=str)
def test_the_optimal_least_squares_discriminator_is_the_posterior_mean_of_the_targets(loss):
    table, _ = optimal_table(loss)
    expected = (loss.real_target * P + loss.fake_target * Q) / (P + Q)
    torch.testing.assert_close(table, expected, rtol=1e-8, atol=1e-8)


def test_least_squares_with_the_papers_targets_measures_pearsons_chi_squared():
    loss = LeastSquares(real_target=1.0, fake_target=-1.0, generator_target=0.0)
    table, _ = optimal_table(loss)
    # arXiv:1611.04076, equation 7: the generator's loss, its constant term over the data included
    both = loss.generator(table[STATES.repeat_interleave(DATA)]) + loss.generator(
        table[STATES.repeat_interleave(MODEL)]
    )
    chi_squared = ((2 * Q - (P + Q)) ** 2 / (P + Q)).sum()
    assert 2 * both.item() == pytest.approx(chi_squared.item(), rel=1e-8)


def test_the_optimal_hinge_discriminator_is_a_sign_and_its_loss_the_total_variation():
    table = torch.sign(P - Q)
    value = discriminator_loss(Hinge(), table)
    total_variation = 0.5 * (P - Q).abs().sum()
    assert value.item() == pytest.approx(2 * (1 - total_variation.item()))
    generator = torch.Generator().manual_seed(0)
    for scale in (0.01, 0.3, 3.0):
        for _ in range(50):
            other = table + scale * torch.randn(5, dtype=torch.float64, generator=generator)
            assert discriminator_loss(Hinge(), other) >= value - 1e-12


def test_the_wasserstein_loss_measures_nothing_without_a_constraint():
    table = torch.randn(5, dtype=torch.float64)
    value = discriminator_loss(Wasserstein(), table)
    torch.testing.assert_close(discriminator_loss(Wasserstein(), 100 * table + 7), 100 * value)
    assert -value.item() == pytest.approx((P * table).sum().item() - (Q * table).sum().item())


class UnitSpectralNorm(nn.Module):
    def forward(self, weight):
        return weight / torch.linalg.matrix_norm(weight, 2)


def test_a_one_lipschitz_critic_never_reports_more_than_the_exact_distance():
    torch.manual_seed(0)
    real, fake = torch.randn(40, 1).double() * 2 + 1, torch.rand(50, 1).double() - 1
    exact = wasserstein_distance(real[:, 0], fake[:, 0])
    critic = MLPDiscriminator((1,), width=16).double()
    for layer in critic.modules():
        if isinstance(layer, nn.Linear):
            parametrize.register_parametrization(layer, "weight", UnitSpectralNorm())
    optimizer = torch.optim.Adam(critic.parameters(), lr=0.02)
    gaps = []
    for _ in range(150):
        loss = Wasserstein().discriminator(critic(real), critic(fake))
        gaps.append(-loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert max(gaps) <= exact + 1e-9
    assert max(gaps) > 0.6 * exact


@pytest.mark.parametrize(
    ("penalty", "delta"),
    [
        (GradientPenalty(), 0.5),
        (GradientPenalty(one_sided=True), 0.5),
        (GradientPenalty(one_sided=True), -0.5),
        (GradientPenalty(weight=40.0, one_sided=True), 2.0),
    ],
    ids=str,
)
def test_a_wgan_gp_critic_measures_the_shift_of_two_gaussians(penalty, delta):
    torch.manual_seed(0)
    quantiles = torch.special.ndtri((torch.arange(256) + 0.5) / 256).unsqueeze(1)
    real, fake = quantiles + delta, quantiles
    distance = wasserstein_distance(real[:, 0], fake[:, 0])
    assert distance == pytest.approx(abs(delta), rel=1e-5)
    critic = MLPDiscriminator((1,), width=32)
    optimizer = torch.optim.Adam(critic.parameters(), lr=5e-3, betas=(0.5, 0.9))
    for step in range(300):
        optimizer.param_groups[0]["lr"] = 5e-3 * (1 - step / 300)
        loss = Wasserstein().discriminator(critic(real), critic(fake))
        loss = loss + penalty(critic, real, fake[torch.randperm(256)], torch.rand(256))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    gap = -Wasserstein().discriminator(critic(real), critic(fake)).item()
    assert gap == pytest.approx(distance, rel=0.05)
    # a linear critic of slope s has loss -s |delta| + weight (s - 1)^2, least at s = 1 + |delta| / (2 weight)
    assert gap == pytest.approx(distance * (1 + distance / (2 * penalty.weight)), rel=0.01)
