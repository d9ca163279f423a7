"""Likelihoods, priors, distributions of latents, and the arithmetic of Gaussians."""

from lit_gen.distributions.gaussian import (
    bound_log_scale,
    kl_normal,
    kl_standard_normal,
    normal_log_prob,
    reparametrise,
)
from lit_gen.distributions.likelihoods import (
    Bernoulli,
    Categorical256,
    ContinuousBernoulli,
    DiscretisedLogistic,
    DiscretisedLogisticMixture,
    Gaussian,
    Likelihood,
    OptimalSigmaGaussian,
    SharedSigmaGaussian,
    auto_likelihood,
    default_likelihood,
)
from lit_gen.distributions.of_latents import DiagonalNormal, Distribution, FullMixture, Mixture, UnitNormal
from lit_gen.distributions.priors import ExPostMixture, GaussianMixture, Prior, StandardNormal, VampPrior

__all__ = [
    "Bernoulli",
    "Categorical256",
    "ContinuousBernoulli",
    "DiagonalNormal",
    "DiscretisedLogistic",
    "DiscretisedLogisticMixture",
    "Distribution",
    "ExPostMixture",
    "FullMixture",
    "Gaussian",
    "GaussianMixture",
    "Likelihood",
    "Mixture",
    "OptimalSigmaGaussian",
    "Prior",
    "SharedSigmaGaussian",
    "StandardNormal",
    "UnitNormal",
    "VampPrior",
    "auto_likelihood",
    "bound_log_scale",
    "default_likelihood",
    "kl_normal",
    "kl_standard_normal",
    "normal_log_prob",
    "reparametrise",
]
