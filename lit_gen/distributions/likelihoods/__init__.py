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
    "default_likelihood",
]


def default_likelihood(image_shape: tuple[int, ...], bounded: bool = True) -> Likelihood:
    """`OptimalSigmaGaussian` for images in colour, `Bernoulli` for grey ones, `Gaussian` with learned σ for points.

    A Bernoulli on grey values is the custom of handwriting, and no probability of photos. Of values without bounds, as
    latents are, all are taken as images in colour.
    """
    if len(image_shape) != 3:
        return Gaussian(image_shape)
    return Bernoulli(image_shape) if image_shape[0] == 1 and bounded else OptimalSigmaGaussian(image_shape)


def auto_likelihood(image_shape: tuple[int, ...]) -> Likelihood:
    """`Bernoulli` for images, `Gaussian` with learned σ for points: the default of earlier versions' checkpoints."""
    return (Bernoulli if len(image_shape) == 3 else Gaussian)(image_shape)
