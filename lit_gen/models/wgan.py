"""Wasserstein GANs: the GAN's procedure with their papers' loss, constraint, penalty and optimizers."""

from typing import Any

from lit_gen.losses import AdversarialLoss, Constraint, GradientPenalty, Penalty, Wasserstein, WeightClip
from lit_gen.models.gan import GAN
from lit_gen.optimizers import OptimizerCallable, WGANGPAdam, WGANRMSprop


class WGAN(GAN):
    """Wasserstein GAN with weight clipping (Arjovsky et al. 2017, arXiv:1701.07875).

    Args:
        image_shape: ``(C, H, W)`` or ``(D,)``; on the command line it comes from the data module.
        latent_dim: Dimension of z ~ N(0, I).
        loss: What the two players minimise.
        constraint: Kept on the discriminator's weights.
        n_critic: Discriminator steps for each round of generator steps.
        generator_optimizer: Any class of torch.optim or lit_gen.optimizers.
        discriminator_optimizer: Likewise.
        **kwargs: All other arguments of ``GAN``.
    """

    def __init__(
        self,
        image_shape: tuple[int, ...],
        latent_dim: int = 128,
        loss: AdversarialLoss = Wasserstein(),
        constraint: Constraint | None = WeightClip(),
        n_critic: int = 5,
        generator_optimizer: OptimizerCallable = WGANRMSprop,
        discriminator_optimizer: OptimizerCallable = WGANRMSprop,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            image_shape,
            latent_dim,
            loss=loss,
            constraint=constraint,
            n_critic=n_critic,
            generator_optimizer=generator_optimizer,
            discriminator_optimizer=discriminator_optimizer,
            **kwargs,
        )


class WGANGP(GAN):
    """Wasserstein GAN with gradient penalty (Gulrajani et al. 2017, arXiv:1704.00028).

    Args:
        image_shape: ``(C, H, W)`` or ``(D,)``; on the command line it comes from the data module.
        latent_dim: Dimension of z ~ N(0, I).
        loss: What the two players minimise.
        penalty: Added to the discriminator's loss.
        n_critic: Discriminator steps for each round of generator steps.
        generator_optimizer: Any class of torch.optim or lit_gen.optimizers.
        discriminator_optimizer: Likewise.
        **kwargs: All other arguments of ``GAN``.
    """

    def __init__(
        self,
        image_shape: tuple[int, ...],
        latent_dim: int = 128,
        loss: AdversarialLoss = Wasserstein(),
        penalty: Penalty | None = GradientPenalty(),
        n_critic: int = 5,
        generator_optimizer: OptimizerCallable = WGANGPAdam,
        discriminator_optimizer: OptimizerCallable = WGANGPAdam,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            image_shape,
            latent_dim,
            loss=loss,
            penalty=penalty,
            n_critic=n_critic,
            generator_optimizer=generator_optimizer,
            discriminator_optimizer=discriminator_optimizer,
            **kwargs,
        )
