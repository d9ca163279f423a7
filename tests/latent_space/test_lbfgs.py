"""Many problems minimised in one batch, each as if it were alone."""

import torch

from lit_gen.latent_space.lbfgs import BatchedLBFGS


def quadratics(n, dimension):
    """½ (x − m)ᵀ A (x − m) with eigenvalues from 1 to 1,000, and m."""
    generator = torch.Generator().manual_seed(0)
    q, _ = torch.linalg.qr(torch.randn(n, dimension, dimension, generator=generator, dtype=torch.float64))
    matrices = q @ torch.diag(torch.logspace(0, 3, dimension, dtype=torch.float64)) @ q.mT
    minima = torch.randn(n, dimension, generator=generator, dtype=torch.float64)

    def objective(x, rows):
        away = x - minima[rows]
        return 0.5 * torch.einsum("ni,nij,nj->n", away, matrices[rows], away)

    return objective, minima


def test_the_minima_of_quadratics_are_found():
    objective, minima = quadratics(5, 12)
    descent = BatchedLBFGS(objective, torch.zeros_like(minima))
    for _ in range(120):
        descent.step()
    torch.testing.assert_close(descent.x, minima, rtol=0, atol=1e-7)


def test_values_never_rise_and_curved_valleys_are_followed():
    def rosenbrock(x, rows):
        return (100 * (x[:, 1:] - x[:, :-1] ** 2) ** 2 + (1 - x[:, :-1]) ** 2).sum(1)

    start = torch.tensor([[-1.2, 1.0], [0.0, 3.0], [2.0, -1.0]], dtype=torch.float64)
    descent, values = BatchedLBFGS(rosenbrock, start), []
    for _ in range(150):
        values.append(descent.value)
        descent.step()
    assert (torch.stack(values).diff(dim=0) <= 0).all()
    torch.testing.assert_close(descent.x, torch.ones_like(start))


def test_a_row_goes_its_way_whatever_the_others_do():
    objective, minima = quadratics(6, 8)
    together = BatchedLBFGS(objective, torch.zeros_like(minima))
    alone = BatchedLBFGS(lambda x, rows: objective(x, rows + 4), torch.zeros_like(minima[4:5]))
    for step in range(25):
        if step == 10:
            together.keep(torch.tensor([False, True, False, False, True, True]))
        together.step()
        alone.step()
    assert together.rows.tolist() == [1, 4, 5]
    torch.testing.assert_close(together.x[1:2], alone.x, rtol=1e-6, atol=1e-9)


def test_steps_out_of_the_domain_are_taken_back():
    descent = BatchedLBFGS(lambda x, rows: (x - x.log()).sum(1), torch.full((1, 3), 0.05, dtype=torch.float64), first=9)
    for _ in range(60):
        descent.step()  # the first steps lead to negative numbers, whose logarithm is none
    torch.testing.assert_close(descent.x, torch.ones(1, 3, dtype=torch.float64))
