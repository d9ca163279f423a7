"""The lecture's pages state theorems: each page's own computation, at reduced length, agrees with them."""

import math
import runpy
import sys
from pathlib import Path

import pytest
import torch

sys.path.append(str(Path(__file__).parents[1] / "scripts" / "lecture"))
import cycle
import disjoint_supports
import duality
import elbo_gap
import gradient_variance
import latent_collapse
import learned
import mode_collapse
import optimal_discriminator
import pages
import saddle_points
import saturation
from lit_gen.distributions import kl_standard_normal
from lit_gen.losses import GradientPenalty, Minimax, NonSaturating, Wasserstein, WeightClip
from lit_gen.metrics import wasserstein

ROOT = Path(__file__).parents[1]


def test_the_likelihood_of_a_parameter_is_the_divergence_from_the_data():
    for mean in (-1.0, 0.3, 2.0):
        likelihood, divergence = learned.mean_log_likelihood(mean)
        assert likelihood == pytest.approx(divergence, abs=1e-4)
    best = max((m / 100 for m in range(-100, 100, 5)), key=lambda m: learned.mean_log_likelihood(m)[0])
    assert best == pytest.approx(0.65 * -1.0 + 0.35 * 1.5, abs=0.03)  # the mean of the data
    assert learned.CELL * (learned.joint(0) + learned.joint(1)).sum().item() == pytest.approx(1, abs=1e-6)


def test_noise_pushed_to_a_curve_has_no_density_in_the_plane():
    found = {
        name: [learned.log_density(x, s).item() for s in (0.1, 0.03, 0.01)] for name, x in learned.probes().items()
    }
    assert found["on the curve"] == sorted(found["on the curve"])
    # On the curve log p_σ grows like −log σ: the mass is spread over a tube of width σ.
    assert found["on the curve"][2] - found["on the curve"][1] == pytest.approx(math.log(3), abs=0.02)
    # A distance d beside it −d²/2σ² takes over.
    fall = found["0.2 beside"][1] - found["0.2 beside"][2]
    assert fall == pytest.approx(0.2**2 / 2 * (1 / 0.01**2 - 1 / 0.03**2) - math.log(3), rel=0.1)
    line = learned.log_density(torch.tensor([[0.3, 0.4]]).double(), 0.5, lambda z: torch.stack([z, 0 * z], 1))
    # G(z) = (z, 0): a normal of variances 1 + σ² and σ²
    exact = -0.5 * (0.09 / 1.25 + 0.16 / 0.25 + math.log(1.25 * 0.25)) - math.log(2 * math.pi)
    assert line.item() == pytest.approx(exact, abs=1e-4)


def test_the_discriminator_nears_the_posterior_and_never_passes_the_bound():
    p, q = optimal_discriminator.P, optimal_discriminator.Q
    values, scores = optimal_discriminator.train(p, q, 120)
    bound = optimal_discriminator.bound(p, q)
    assert max(values) <= bound + 1e-6
    assert bound - values[-1] < 0.03
    assert optimal_discriminator.error(scores[-1], p, q) < 0.04
    assert optimal_discriminator.error(scores[0], p, q) > 0.15
    best = (p.log_prob(optimal_discriminator.GRID) - q.log_prob(optimal_discriminator.GRID)).clamp(-50, 50)
    assert optimal_discriminator.value(best, p, q) == pytest.approx(bound, abs=1e-5)
    assert optimal_discriminator.bound(p, p) == pytest.approx(-math.log(4), abs=1e-6)


def test_saturation_is_the_generators_own():
    scores = torch.tensor([-8.0, 0.0, 4.0])
    torch.testing.assert_close(saturation.slopes(Minimax(), scores), torch.sigmoid(scores))
    torch.testing.assert_close(saturation.slopes(NonSaturating(), scores), torch.sigmoid(-scores))
    games = [saturation.play(loss, steps=60) for loss in (Minimax(), NonSaturating())]
    assert games[0].slope["log(1 − s(D))"][0] < 0.05
    assert games[1].slope["−log s(D)"][0] > 0.95
    assert games[1].distance[-1] < games[0].distance[-1] - 0.5


@pytest.mark.parametrize("kind", ["ring", "grid"])
@pytest.mark.parametrize("method", mode_collapse.METHODS)
def test_every_game_of_the_strip_is_played(method, kind):
    found = mode_collapse.train(method, kind, share=0.01, shots=2)
    assert len(found.samples) == len(found.steps) == 2
    assert found.samples[0].shape == (mode_collapse.SAMPLES, 2)
    assert not torch.equal(*found.samples)
    assert 0 <= found.scores["high_quality"] <= 1


def test_simultaneous_steps_run_away_by_a_known_factor_and_alternating_ones_circle():
    radius = saddle_points.orbit(Wasserstein(), steps=50).norm(dim=1)
    exact = [saddle_points.factor(0.0, False) ** t for t in range(51)]
    torch.testing.assert_close(radius, torch.tensor(exact, dtype=torch.float64), rtol=1e-12, atol=0)
    path = saddle_points.orbit(Wasserstein(), alternating=True, steps=500)
    # Steps of size η in turn keep θ² + ψ² − ηθψ: an ellipse.
    invariant = path.square().sum(1) - saddle_points.RATE * path.prod(1)
    torch.testing.assert_close(invariant, invariant[0].expand(501), rtol=1e-9, atol=0)


@pytest.mark.parametrize("alternating", [False, True])
def test_r1_brings_the_orbit_to_the_saddle_by_the_roots_of_its_step(alternating):
    path = saddle_points.orbit(Wasserstein(), saddle_points.GAMMA, alternating, steps=2)
    # Three points of a linear recursion in the plane give its matrix, whose determinant is the factor squared.
    other = saddle_points.orbit(Wasserstein(), saddle_points.GAMMA, alternating, steps=1, start=(0.0, 1.0))
    matrix = torch.stack([path[1], other[1]], 1)
    torch.testing.assert_close(matrix @ path[1], path[2])
    assert torch.linalg.det(matrix).item() == pytest.approx(saddle_points.factor(saddle_points.GAMMA, alternating) ** 2)
    assert torch.linalg.eigvals(matrix).abs().max() < 1
    assert saddle_points.orbit(NonSaturating(), saddle_points.GAMMA, alternating, steps=300)[-1].norm() < 0.1
    assert saddle_points.orbit(NonSaturating(), 0.0, alternating, steps=300).norm(dim=1).min() > 0.3


def test_parted_lines_have_one_divergence_and_their_own_distance():
    for distance in (0.1, 1.0, 3.0):
        assert disjoint_supports.divergence(distance) == pytest.approx(math.log(2), abs=1e-9)
        assert wasserstein(*disjoint_supports.lines(distance, 32)).item() == pytest.approx(distance, abs=1e-6)
    assert disjoint_supports.divergence(0.0) == pytest.approx(0, abs=1e-12)


def test_a_discriminator_of_parted_lines_stops_teaching_and_a_critic_goes_on():
    _, taught = disjoint_supports.train("discriminator", steps=150)
    assert taught[-1] < 0.1 * max(taught)
    _, taught = disjoint_supports.train("critic", steps=150)
    assert taught[-1] == pytest.approx(1.05, abs=0.1)  # 1 + θ/2λ at θ = 1, λ = 10


def test_the_cheapest_plan_costs_what_the_best_potential_gains():
    x, y = duality.points(n=16)
    plan, (f_x, f_y) = duality.best_plan(x, y), duality.potentials(x, y)
    cost = (x - y[plan]).norm(dim=1)
    exact = wasserstein(x, y).item()
    assert cost.mean().item() == pytest.approx(exact, abs=1e-12)
    assert (f_x.mean() - f_y.mean()).item() == pytest.approx(exact, abs=1e-9)
    # Complementary slackness: along the plan the potential falls by the whole distance, and nowhere by more.
    torch.testing.assert_close(f_x - f_y[plan], cost, rtol=0, atol=1e-7)
    assert (f_x[:, None] - f_y - torch.cdist(x, y)).max() < 1e-7
    everywhere = duality.potential_at(torch.cat([x, y]), y, f_y)
    torch.testing.assert_close(everywhere, torch.cat([f_x, f_y]), rtol=0, atol=1e-7)
    two = torch.randn(2, 200, 2, dtype=torch.float64)
    steepness = (duality.potential_at(two[0], y, f_y) - duality.potential_at(two[1], y, f_y)).abs()
    assert (steepness <= (two[0] - two[1]).norm(dim=1) + 1e-9).all()


def test_a_penalised_critic_has_a_slope_of_one_and_a_clipped_one_its_own():
    x, y = duality.points(n=32)
    exact = wasserstein(x, y).item()
    gap, slopes = duality.gap_and_slopes(duality.critic(GradientPenalty(10.0), x, y, steps=250), x, y)
    assert slopes.mean().item() == pytest.approx(1 + exact / 20, abs=0.1)
    assert gap / slopes.mean().item() == pytest.approx(exact, rel=0.1)
    gap, slopes = duality.gap_and_slopes(duality.critic(WeightClip(0.1), x, y, steps=150), x, y)
    assert abs(slopes.mean().item() - 1) > 0.5
    assert slopes.std() > 0.3


def test_cycle_terms_are_left_out_one_at_a_time():
    for terms, options in cycle.TERMS.items():
        found = cycle.train(terms, steps=2)
        assert found.translated.shape == found.a.shape == (600, 2)
        assert 0 <= found.reached <= cycle.CLUSTERS
        assert options is cycle.TERMS[terms]
    whole, without = (cycle.train(terms, steps=150) for terms in ("all terms", "no cycle"))
    assert whole.cycle_error < 0.5 * without.cycle_error


def test_the_elbos_gap_is_the_divergence_from_the_true_posterior():
    vae, x = elbo_gap.model(), elbo_gap.data()
    found = elbo_gap.learn(vae, x, 150, rate=0.05)
    assert found.identity_error < 1e-10
    for elbo, kl in zip(found.elbo, found.kl, strict=True):
        assert elbo + kl == pytest.approx(found.evidence, abs=1e-6)
    assert found.kl[-1] == pytest.approx(elbo_gap.least_gap(), abs=1e-3)
    assert elbo_gap.least_gap() > 0.05
    bounds = [elbo_gap.weighted_bound(vae, x, k, 200 // k) for k in (1, 5, 50)]
    assert bounds == sorted(bounds)
    assert found.evidence - bounds[-1] < 0.2 * elbo_gap.least_gap()


@pytest.mark.parametrize(("dims", "samples"), [(1, 1), (10, 4)])
def test_variances_of_both_gradients_are_the_closed_forms(dims, samples):
    for name in ("score function", "reparametrised"):
        drawn = gradient_variance.toy_gradients(name, dims, samples, 40_000 // dims)
        assert drawn.var().item() == pytest.approx(gradient_variance.toy_variance(name, dims, samples), rel=0.15)
        assert drawn.mean().item() == pytest.approx(0, abs=5 * (drawn.var() / len(drawn)).sqrt().item())


def test_a_baseline_lowers_the_variance_and_keeps_the_mean():
    plain, less = (
        gradient_variance.toy_gradients(name, 10, 4, 4000) for name in ("score function", "score function, baseline")
    )
    assert less.var() < plain.var() / 3
    assert less.mean().item() == pytest.approx(0, abs=5 * (less.var() / len(less)).sqrt().item())


def test_sticking_the_landing_has_no_variance_at_the_true_posterior():
    times, found = gradient_variance.over_training(100, 100, 20)
    assert times == [0, 100]
    assert found["sticking the landing"][1] < 0.02 * found["reparametrised"][1]
    assert found["reparametrised"][1] < found["score function"][1]
    vae, x = gradient_variance.linear_vae()
    torch.manual_seed(3)
    noise = torch.randn(len(x), 1, 2)
    torch.manual_seed(3)
    ours = gradient_variance.bound_gradient(vae, x, "sticking the landing", samples=1)
    torch.testing.assert_close(ours, gradient_variance.library_landing(vae, x, noise))


def test_a_linear_vaes_directions_collapse_below_their_threshold():
    for variance in (0.3, 1.8, 5.0):
        theory = (1 - variance / latent_collapse.EIGENVALUES).clamp(min=0).tolist()
        assert latent_collapse.linear_variances(variance) == pytest.approx(theory, abs=2e-3)
    assert kl_standard_normal(torch.zeros(1), torch.zeros(1)) == 0  # what a collapsed unit costs


def test_layers_are_measured_for_every_remedy():
    for remedy in latent_collapse.remedies(4):
        layers = latent_collapse.train(remedy, 2, steps=4)
        assert len(layers) == 2
        assert all(0 <= layer["active_units"] <= latent_collapse.UNITS for layer in layers)


def test_one_page_is_drawn_by_the_command(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["lecture", "saddle_points", "--out", str(tmp_path / "new")])
    runpy.run_path(str(ROOT / "scripts" / "lecture"), run_name="__main__")
    assert (tmp_path / "new" / "saddle_points.png").read_bytes().startswith(b"\x89PNG")
    assert capsys.readouterr().out.startswith("saddle_points (")


def test_every_page_has_its_figure_and_its_text():
    documents = ROOT / "docs" / "lecture"
    index = (documents / "index.md").read_text()
    for page in pages.PAGES:
        text = (documents / f"{page}.md").read_text()
        assert f"({page}.md)" in index
        assert f"../images/lecture/{page}.png" in text
        assert f"python scripts/lecture {page}" in text
        assert "`test_lecture.py::" in text
        assert "## What to try" in text
        assert (ROOT / "docs" / "images" / "lecture" / f"{page}.png").stat().st_size < 150_000
    assert {path.stem for path in documents.glob("*.md")} == {*pages.PAGES, "index"}
