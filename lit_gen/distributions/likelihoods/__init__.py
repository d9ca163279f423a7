"""Likelihoods p(x | z): each owns the meaning of the decoder's output and the random variable it models."""

from lit_gen.distributions.likelihoods.base import Likelihood
from lit_gen.distributions.likelihoods.bernoulli import Bernoulli, ContinuousBernoulli
from lit_gen.distributions.likelihoods.categorical import Categorical256
from lit_gen.distributions.likelihoods.gaussian import Gaussian, OptimalSigmaGaussian, SharedSigmaGaussian
from lit_gen.distributions.likelihoods.logistic import DiscretisedLogistic, DiscretisedLogisticMixture

__all__ = [
    "Bernoulli",
    "Categorical256",
    "ContinuousBernoulli",
    "DiscretisedLogistic",
    "DiscretisedLogisticMixture",
    "Gaussian",
    "Likelihood",
    "OptimalSigmaGaussian",
    "SharedSigmaGaussian",
    "auto_likelihood",
]


def auto_likelihood(image_shape: tuple[int, ...]) -> Likelihood:
    """`Bernoulli` for images, `Gaussian` with learned σ for points."""
    return (Bernoulli if len(image_shape) == 3 else Gaussian)(image_shape)
