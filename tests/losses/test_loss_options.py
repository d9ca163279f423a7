"""Losses, penalties and constraints as options of a command line."""

import dataclasses

import pytest
from jsonargparse import ArgumentParser

from lit_gen.distributions import Bernoulli, Gaussian, Likelihood
from lit_gen.losses import (
    DRAGAN,
    R1,
    R1R2,
    R2,
    AdversarialLoss,
    Constraint,
    FiniteDifference,
    GradientPenalty,
    Hinge,
    LeastSquares,
    Minimax,
    NonSaturating,
    Penalty,
    RelativisticAverage,
    RelativisticPairing,
    SpectralNorm,
    Wasserstein,
    WeightClip,
)


def parse(base, *arguments):
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(base, "option")
    return parser.instantiate(parser.parse_args(list(arguments))).option


@pytest.mark.parametrize(
    ("base", "expected"),
    [
        (AdversarialLoss, NonSaturating()),
        (AdversarialLoss, NonSaturating(real_label=0.9)),
        (AdversarialLoss, Minimax()),
        (AdversarialLoss, RelativisticPairing()),
        (AdversarialLoss, RelativisticAverage()),
        (AdversarialLoss, LeastSquares(0.9, -1.0, 0.5)),
        (AdversarialLoss, Hinge()),
        (AdversarialLoss, Wasserstein()),
        (Penalty, GradientPenalty(weight=3.0, target=2.0, one_sided=True)),
        (Penalty, R1(weight=0.5)),
        (Penalty, R2(weight=0.0)),
        (Penalty, R1R2(weight=0.5, interval=16, correct_optimizer=True)),
        (Penalty, DRAGAN(weight=3.0, target=2.0, variance=0.5)),
        (Penalty, FiniteDifference(weight=3.0, sigma=0.1, full_precision=False)),
        (Constraint, WeightClip(bound=0.1)),
        (Constraint, SpectralNorm(n_power_iterations=3)),
    ],
    ids=str,
)
def test_every_option_can_be_written_and_is_frozen(base, expected):
    fields = [f"--option.{name}={str(value).lower()}" for name, value in vars(expected).items()]
    assert parse(base, f"--option={type(expected).__name__}", *fields) == expected
    with pytest.raises(dataclasses.FrozenInstanceError):
        expected.weight = 1.0


def test_likelihoods_can_be_written():
    bernoulli = parse(Likelihood, "--option=Bernoulli", "--option.image_shape=[1,8,8]", "--option.binarization=dynamic")
    assert isinstance(bernoulli, Bernoulli)
    assert bernoulli.binarization == "dynamic"
    gaussian = parse(Likelihood, "--option=Gaussian", "--option.image_shape=[2]", "--option.sigma=0.5")
    assert isinstance(gaussian, Gaussian)
    assert gaussian.sigma == 0.5
