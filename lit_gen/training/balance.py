"""The weight between two losses of an autoencoder, and one backward pass for both (arXiv:2012.09841, equation 7)."""

from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call

from lit_gen.networks import SpatialDecoder
from lit_gen.precision import float32_or_better

DELTA = 1e-4  # the paper's 1e-6 is 1e-4 in its authors' code, as the bound below
LARGEST = 1e4


@float32_or_better
def last_layer_gradients(decoder: SpatialDecoder, features: Tensor, *of_images: Tensor) -> list[Tensor]:
    """Gradients of losses in the weight of the decoder's last layer, from those in its images.

    Only that layer is run again and differentiated, in float32 or better: it sees what the decoder's pass has given it.

    Args:
        decoder: Whose ``last_layer`` it is.
        features: What the layer takes, ``(N, *)``.
        *of_images: A loss's gradient in the images each, ``(N, *image_shape)``.
    """
    layer = decoder.last_layer
    weight = layer.get_parameter("weight").detach().to(features.dtype).requires_grad_()
    own = {name: p.detach().to(features.dtype) for name, p in layer.named_parameters() if name != "weight"}
    with torch.enable_grad():
        images = decoder.crop(functional_call(layer, {"weight": weight, **own}, (features.detach(),)))
    return [torch.autograd.grad(images, weight, gradient, retain_graph=True)[0] for gradient in of_images]


@float32_or_better
def gradient_ratio(of_reconstruction: Tensor, of_adversarial: Tensor) -> Tensor:
    """‖∇ L_rec‖ / (‖∇ L_G‖ + 10⁻⁴) within [0, 10⁴], a constant: the weight of L_G that makes both pull alike."""
    ratio = of_reconstruction.norm() / (of_adversarial.norm() + DELTA)
    return ratio.detach().clamp(0, LARGEST)


def with_gradient(x: Tensor, value: Tensor, gradient: Tensor) -> Tensor:
    """The scalar ``value`` as a function of x whose gradient is known: nothing is differentiated a second time."""
    return _WithGradient.apply(x, value.detach(), gradient.detach())


class _WithGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, value: Tensor, gradient: Tensor) -> Tensor:
        ctx.save_for_backward(gradient)
        return value.clone()

    @staticmethod
    def backward(ctx: Any, *of_value: Tensor) -> tuple[Tensor, None, None]:
        (gradient,) = ctx.saved_tensors
        return gradient * of_value[0], None, None
