import math

import pytest
import torch
from objectives import Smooth, batches, conv_critic, gradient_of
from torch import nn

from lit_gen.losses import DRAGAN, R1, R1R2, R2, GradientPenalty


@pytest.mark.parametrize("shape", [(), (1,), (2,), (1, 8, 8), (3, 5, 7), (5, 2, 3, 4)], ids=str)
@pytest.mark.parametrize("norm", [0.2, 0.999, 1.0, 1.001, 3.0])
def test_linear_critics_have_closed_forms(shape, norm):
    real, fake, epsilon = batches(*shape)
    w = torch.randn(shape, dtype=torch.float64)
    w *= norm / w.norm()

    def critic(x):
        return (x * w).reshape(len(x), -1).sum(1)

    value = GradientPenalty(10.0)(critic, real, fake, epsilon).item()
    assert value == pytest.approx(10 * (norm - 1) ** 2, rel=1e-5, abs=1e-20)
    assert GradientPenalty(10.0, target=2.0)(critic, real, fake, epsilon).item() == pytest.approx(
        10 * (norm - 2) ** 2, rel=1e-5
    )
    one_sided = GradientPenalty(10.0, one_sided=True)(critic, real, fake, epsilon).item()
    assert one_sided == pytest.approx(10 * max(norm - 1, 0) ** 2, rel=1e-5, abs=1e-20)
    assert R1(10.0)(critic, real, fake, epsilon).item() == pytest.approx(5 * norm**2)
    assert R2(10.0)(critic, real, fake, epsilon).item() == pytest.approx(5 * norm**2)
    assert R1R2(10.0)(critic, real, fake, epsilon).item() == pytest.approx(10 * norm**2)
    around = DRAGAN(10.0, target=2.0)(critic, real, fake, torch.rand_like(real)).item()
    assert around == pytest.approx(10 * (norm - 2) ** 2, rel=1e-5)


def test_a_unit_linear_critic_scores_zero_in_float32_too():
    real, fake, epsilon = batches(3, 4, 4, dtype=torch.float32)
    w = torch.zeros(3, 4, 4)
    w[1, 2, 3] = -1.0
    assert GradientPenalty()(lambda x: (x * w).sum(dim=(1, 2, 3)), real, fake, epsilon).item() < 1e-6


def test_quadratic_critics_have_closed_forms():
    real, fake, epsilon = batches(3, 4, 4)

    def critic(x):  # its gradient is x itself
        return 0.5 * x.square().sum(dim=(1, 2, 3))

    between = epsilon[:, None, None, None] * real + (1 - epsilon[:, None, None, None]) * fake
    expected = 10 * (between.flatten(1).norm(dim=1) - 1).square().mean()
    torch.testing.assert_close(GradientPenalty()(critic, real, fake, epsilon), expected)
    torch.testing.assert_close(R1(3.0)(critic, real, fake, epsilon), 1.5 * real.square().sum() / len(real))
    torch.testing.assert_close(R2(3.0)(critic, real, fake, epsilon), 1.5 * fake.square().sum() / len(fake))
    both = 1.5 * (real.square().sum() + fake.square().sum()) / len(real)
    torch.testing.assert_close(R1R2(3.0)(critic, real, fake, epsilon), both)
    uniform = torch.rand_like(real)
    around = real + 2 * torch.distributions.Normal(0.0, 1.0).icdf(uniform)
    expected = 10 * (around.flatten(1).norm(dim=1) - 1).square().mean()
    torch.testing.assert_close(DRAGAN(variance=4.0)(critic, real, fake, uniform), expected)


def test_an_anisotropic_quadratic_critic_is_penalised_by_the_norm_over_all_dimensions():
    # D(x) = ½ xᵀ A x of the flattened sample has the gradient A x: channels and positions mix.
    real, fake, epsilon = batches(2, 3, 2)
    a = torch.randn(12, 12, dtype=torch.float64)
    a = a + a.T

    def critic(x):
        return 0.5 * (x.flatten(1) @ a * x.flatten(1)).sum(1)

    def squares(x):
        return (x.flatten(1) @ a).square().sum(1)

    between = torch.stack([e * r + (1 - e) * f for e, r, f in zip(epsilon, real, fake, strict=True)])
    expected = 10 * (squares(between).sqrt() - 1).square().mean()
    torch.testing.assert_close(GradientPenalty()(critic, real, fake, epsilon), expected)
    torch.testing.assert_close(R1(3.0)(critic, real, fake, epsilon), 1.5 * squares(real).mean())
    torch.testing.assert_close(R2(3.0)(critic, real, fake, epsilon), 1.5 * squares(fake).mean())


def test_epsilon_goes_from_fake_to_real():
    real, fake, _ = batches(2)

    def seen(epsilon):
        points = []

        def critic(x):
            points.append(x.detach())
            return x.sum(1)

        GradientPenalty()(critic, real, fake, torch.full((5,), epsilon, dtype=torch.float64))
        return points[0]

    torch.testing.assert_close(seen(0.0), fake)
    torch.testing.assert_close(seen(1.0), real)
    torch.testing.assert_close(seen(0.25), 0.25 * real + 0.75 * fake)


def brute_force(critic, points, h=1e-5):
    """Norm of the gradient of each sample, by a central difference in every dimension."""
    norms = []
    with torch.no_grad():
        for point in points:
            steps = h * torch.eye(point.numel(), dtype=torch.float64).reshape(-1, *point.shape)
            gradient = (critic(point + steps) - critic(point - steps)) / (2 * h)
            norms.append(gradient.norm())
    return torch.stack(norms)


@pytest.mark.parametrize("shape", [(2,), (3, 4, 5)], ids=str)
def test_penalties_equal_a_loop_over_samples_and_dimensions(shape):
    real, fake, epsilon = batches(*shape)
    critic = Smooth(*shape)
    between = torch.stack([e * r + (1 - e) * f for e, r, f in zip(epsilon, real, fake, strict=True)])
    norms = brute_force(critic, between)
    assert norms.max() > 1 > norms.min() or norms.std() > 0.1
    for penalty, expected in [
        (GradientPenalty(7.0), 7 * (norms - 1).square().mean()),
        (GradientPenalty(7.0, target=3.0), 7 * (norms - 3).square().mean()),
        (GradientPenalty(7.0, target=3.0, one_sided=True), 7 * (norms - 3).clamp(min=0).square().mean()),
        (R1(7.0), 3.5 * brute_force(critic, real).square().mean()),
        (R2(7.0), 3.5 * brute_force(critic, fake).square().mean()),
        (R1R2(7.0), 3.5 * (brute_force(critic, real).square().mean() + brute_force(critic, fake).square().mean())),
    ]:
        torch.testing.assert_close(penalty(critic, real, fake, epsilon), expected, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("penalty", [GradientPenalty(), R1()], ids=str)
def test_bfloat16_autocast_changes_the_gradient_by_less_than_four_percent(penalty):
    critic, arguments = conv_critic(), batches(3, 32, 32, dtype=torch.float32, n=8)
    value, exact = gradient_of(penalty, critic, *arguments)
    dtypes = []
    critic.blocks[1].residual[2].register_forward_hook(lambda *call: dtypes.append(call[-1].dtype))
    with torch.autocast("cpu", torch.bfloat16):
        mixed_value, mixed = gradient_of(penalty, critic, *arguments)
    assert dtypes == [torch.bfloat16]
    assert mixed_value.dtype == torch.float32
    assert mixed_value.item() == pytest.approx(value.item(), rel=1e-2)
    assert (mixed - exact).norm() < 0.04 * exact.norm()


def test_norms_are_summed_in_float32_and_do_not_overflow():
    real, fake, epsilon = batches(3, 64, 64, dtype=torch.float32, n=2)
    critic = nn.Sequential(nn.Flatten(), nn.Linear(3 * 64 * 64, 1, bias=False))
    nn.init.constant_(critic[1].weight, 300.0)
    exact = R1(2.0)(critic, real, fake, epsilon).item()
    assert exact == pytest.approx(3 * 64 * 64 * 300.0**2, rel=1e-5)  # beyond float16's range
    with torch.autocast("cpu", torch.float16):
        assert R1(2.0)(critic, real, fake, epsilon).item() == exact


def test_compiled_critics_are_penalised():
    critic, arguments = conv_critic(), batches(3, 32, 32, dtype=torch.float32, n=2)
    value, exact = gradient_of(GradientPenalty(), critic, *arguments)
    critic.compile(backend="aot_eager")
    compiled_value, compiled = gradient_of(GradientPenalty(), critic, *arguments)
    torch.testing.assert_close(compiled_value, value)
    torch.testing.assert_close(compiled, exact)


@pytest.mark.parametrize(
    ("real", "fake", "epsilon"),
    [((4, 2), (3, 2), (4,)), ((4, 2), (4, 3), (4,)), ((4, 2), (4, 2), (4, 2)), ((4, 2), (4, 2), (1,))],
)
def test_unpaired_batches_are_refused(real, fake, epsilon):
    with pytest.raises(ValueError, match=r"real \(4, 2\), fake .* epsilon .*GradientPenalty"):
        GradientPenalty()(Smooth(2), torch.zeros(real), torch.zeros(fake), torch.zeros(epsilon))


def test_wrong_targets_are_named():
    with pytest.raises(ValueError, match=r"target=-1\.0: GradientPenalty"):
        GradientPenalty(target=-1.0)
    with pytest.raises(ValueError, match=r"target=nan: DRAGAN"):
        DRAGAN(target=math.nan)
    with pytest.raises(ValueError, match=r"variance=-0\.5: DRAGAN"):
        DRAGAN(variance=-0.5)


def test_dragan_looks_around_the_data_by_the_paper_s_normal_noise():
    seen = []

    def critic(x):
        seen.append(x.detach())
        return x.sum(1)

    real, n = torch.tensor([[3.0, -1.0]]).double().expand(20_000, 2), 20_000
    epsilon = torch.rand(n, 2, generator=torch.Generator().manual_seed(0)).double()
    DRAGAN(variance=4.0)(critic, real, torch.full((n, 2), math.nan), epsilon)
    delta = seen[0] - real
    torch.testing.assert_close(delta, 2 * torch.distributions.Normal(0.0, 1.0).icdf(epsilon))
    torch.testing.assert_close(torch.cov(delta.T), 4 * torch.eye(2).double(), atol=0.15, rtol=0)
    for edge in (torch.zeros(n, 2), torch.full((n, 2), 1 - 2**-24)):
        assert DRAGAN()(critic, real.float(), real.float(), edge).isfinite()
    assert seen[-1].isfinite().all()
    with pytest.raises(ValueError, match=r"epsilon \(20000,\): DRAGAN needs the shape of real, \(20000, 2\)"):
        DRAGAN()(critic, real, real, epsilon[:, 0])


def test_r1r2_is_the_sum_of_both_by_one_gradient():
    real, fake, epsilon = batches(3)
    critic, sizes = Smooth(3), []
    critic.register_forward_hook(lambda *call: sizes.append(len(call[-1])))
    joined = R1R2(3.0)(critic, real, fake[:4], epsilon)
    assert sizes == [9]
    torch.testing.assert_close(joined, R1(3.0)(critic, real, fake, epsilon) + R2(3.0)(critic, real, fake[:4], epsilon))
