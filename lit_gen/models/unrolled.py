"""Unrolled GANs: the generator faces the discriminator as it will answer, some gradient steps later."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor, nn
from torch.func import functional_call

from lit_gen.kernels import differentiable_attention

T = TypeVar("T")
Weights = dict[str, Tensor]


@dataclass(frozen=True)
class Unroll(ABC):
    """K steps of the discriminator that the generator looks ahead (Metz et al. 2017, arXiv:1611.02163, equations 7-10).

    θ_D⁰ = θ_D, θ_Dᵏ⁺¹ = θ_Dᵏ − step of ∇L_D(θ_G, θ_Dᵏ), and the generator descends L_G(θ_G, θ_Dᴷ(θ_G, θ_D)) along its
    whole gradient ∂L_G/∂θ_G + ∂L_G/∂θ_Dᴷ · dθ_Dᴷ/dθ_G, through all K steps. The discriminator itself takes its usual
    step. All K steps and the generator's loss see one batch of data and samples; a process, or a part under
    ``accumulate``, its own share of it. The generator's step costs about K + 1 times the memory.

    Args:
        steps: K; with 0 the gradient is the plain GAN's.
        lr: Step size of the K steps.

    Raises:
        ValueError: for a negative number of steps, or a step size that is not positive and finite.
    """

    couples_batch: ClassVar[bool] = True
    steps: int = 5
    lr: float = 1e-4

    def __post_init__(self) -> None:
        if self.steps < 0:
            raise ValueError(f"steps={self.steps}: {type(self).__name__} needs at least 0")
        if not 0 < self.lr < math.inf:
            raise ValueError(f"lr={self.lr}: {type(self).__name__} needs a positive, finite number")

    @abstractmethod
    def step(self, weights: Weights, gradients: Weights, state: Any) -> tuple[Weights, Any]:
        """The weights after one step as a differentiable function of these, and the state of the next one.

        Args:
            weights: θ_Dᵏ by name.
            gradients: Of L_D, by name.
            state: What the step before returned, None at the first.
        """

    def __call__(
        self,
        network: nn.Module,
        parameters: Iterable[nn.Parameter],
        inner: Callable[[], Tensor],
        outer: Callable[[], T],
    ) -> T:
        """``outer()`` with the network's weights after K steps on ``inner()``, and a graph to all they depend on.

        The network itself stays as it is, buffers too: batch norm's statistics that these passes would move are copies.

        Args:
            network: The discriminator; both functions use it.
            parameters: Which of its weights the steps move, whether or not they require gradients now.
            inner: L_D, a scalar.
            outer: What is returned.
        """
        moving = set(map(id, parameters))
        names = [name for name, parameter in network.named_parameters() if id(parameter) in moving]
        weights = {name: network.get_parameter(name).detach().requires_grad_() for name in names}
        device, state = next(network.parameters()).device.type, None
        fp16 = torch.is_autocast_enabled(device) and torch.get_autocast_dtype(device) == torch.float16
        with (
            torch.enable_grad(),
            differentiable_attention(),
            torch.compiler.set_stance("force_eager"),  # no double backward in compiled networks
        ):
            for _ in range(self.steps):
                with torch.autocast(device, enabled=False) if fp16 else nullcontext():  # nobody scales this loss
                    loss = with_weights(network, weights, inner)
                gradients = torch.autograd.grad(
                    loss, list(weights.values()), create_graph=True, allow_unused=True, materialize_grads=True
                )
                weights, state = self.step(weights, dict(zip(names, gradients, strict=True)), state)
            return with_weights(network, weights, outer)


@dataclass(frozen=True)
class UnrolledSGD(Unroll):
    """Looks ahead along plain gradient descent, θ − η ∇L_D: no state."""

    lr: float = 1e-2

    def step(self, weights: Weights, gradients: Weights, state: Any) -> tuple[Weights, Any]:
        """θ − η g."""
        return {name: weight - self.lr * gradients[name] for name, weight in weights.items()}, None


@dataclass(frozen=True)
class UnrolledAdam(Unroll):
    """Looks ahead along Adam (Kingma and Ba 2015, arXiv:1412.6980), with the paper's settings for points in the plane.

    θ − η m̂ / √(v̂ + ε²), whose moments m and v begin at zero with each look ahead: the discriminator's own optimizer
    lends none. ε stands under the root, where Adam adds it to the root, for a finite derivative at a gradient of 0.

    Args:
        betas: Of the moments.
        eps: ε.
    """

    betas: tuple[float, float] = (0.5, 0.999)
    eps: float = 1e-8

    def step(self, weights: Weights, gradients: Weights, state: Any) -> tuple[Weights, Any]:
        """One step, bias corrected; the state is (t, m, v)."""
        b1, b2 = self.betas
        zeros = {name: torch.zeros_like(weight) for name, weight in weights.items()}
        t, m, v = state or (0, zeros, zeros)
        t += 1
        m = {name: b1 * m[name] + (1 - b1) * g for name, g in gradients.items()}
        v = {name: b2 * v[name] + (1 - b2) * g.square() for name, g in gradients.items()}
        moved = {}
        for name, weight in weights.items():
            scale = (v[name] / (1 - b2**t) + self.eps**2).sqrt()
            moved[name] = weight - self.lr * m[name] / (1 - b1**t) / scale
        return moved, (t, m, v)


class _Within(nn.Module):
    """A function that uses a network, as a module around it: the weights of modules can be exchanged for a call."""

    def __init__(self, network: nn.Module, function: Callable[[], Any]) -> None:
        super().__init__()
        self.network, self.function = network, function

    def forward(self) -> Any:
        return self.function()


def with_weights(network: nn.Module, weights: Weights, function: Callable[[], T]) -> T:
    """``function()`` while ``network`` has other weights, by name, and copies of its buffers."""
    tensors = {**weights, **{name: buffer.clone() for name, buffer in network.named_buffers()}}
    return functional_call(
        _Within(network, function), {f"network.{name}": tensor for name, tensor in tensors.items()}, ()
    )
