"""Optimizers with the settings of the papers, as typed classes that a saved configuration can name again.

Any class of ``torch.optim`` is accepted in their place: ``--model.generator_optimizer torch.optim.AdamW``.
"""

import functools
import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.optimizer import _global_optimizer_post_hooks, _global_optimizer_pre_hooks

OptimizerCallable = Callable[[Iterable], torch.optim.Optimizer]  # makes an optimizer of parameters
_PLAIN_STEP = inspect.unwrap(torch.optim.Adam.step)  # without hooks, which the step that calls it has itself


class FusedAdam(torch.optim.Adam):
    """Adam that takes its step in one pass over weights, gradients and moments.

    Args:
        params: Parameters, or groups of them.
        lr: Learning rate.
        betas: Of the moments.
        eps: Added to the root.
        weight_decay: Factor of the weights in the gradient.
        fused: Whether in one pass; null for yes on a CPU, where that is the fastest and always fits, and for PyTorch's
            own choice elsewhere.
        decoupled_weight_decay: Whether weights decay beside the gradient, not in it (arXiv:1711.05101).
    """

    def __init__(
        self,
        params: Iterable,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        fused: bool | None = None,
        decoupled_weight_decay: bool = False,
    ) -> None:
        params = list(params)
        if fused is None:
            groups = (group["params"] if isinstance(group, dict) else [group] for group in params)
            # Not False elsewhere: PyTorch takes all tensors at once by itself only where nothing is chosen.
            fused = all(p.device.type == "cpu" and p.is_floating_point() for group in groups for p in group) or None
        decoupled: dict[str, Any] = {"decoupled_weight_decay": decoupled_weight_decay}
        super().__init__(params, lr=lr, betas=betas, eps=eps, weight_decay=weight_decay, fused=fused, **decoupled)

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """As Adam's, but without most of its Python where a CPU's fused kernel takes all weights of a group at once."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        with torch.no_grad():
            gathered = (_at_once(group, self.state) for group in self.param_groups)
            groups = [tensors for tensors in gathered if tensors is not None]
            if len(groups) < len(self.param_groups) or hasattr(self, "found_inf"):  # which a gradient scaler sets
                _PLAIN_STEP(self)
                return loss
            for group, tensors in zip(self.param_groups, groups, strict=True):
                kernel = torch._fused_adamw_ if group["decoupled_weight_decay"] else torch._fused_adam_
                settings = {name: group[name] for name in ("lr", "weight_decay", "eps", "maximize")}
                beta1, beta2 = group["betas"]
                torch._foreach_add_(tensors[-1], 1)
                kernel(*tensors, amsgrad=False, beta1=beta1, beta2=beta2, **settings)
        return loss

    @staticmethod
    def profile_hook_step(func: Callable[..., Any]) -> Callable[..., Any]:
        """What PyTorch makes of `step`: here its label for profilers, twenty microseconds, only while one looks."""
        labelled = torch.optim.Optimizer.profile_hook_step(func)

        @functools.wraps(func)
        def step(self: torch.optim.Optimizer, *args: Any, **kwargs: Any) -> Any:
            if torch._C._autograd._profiler_enabled() or self._optimizer_step_pre_hooks or _global_optimizer_pre_hooks:
                return labelled(self, *args, **kwargs)
            result = func(self, *args, **kwargs)
            self._optimizer_step_code()
            for hook in (*self._optimizer_step_post_hooks.values(), *_global_optimizer_post_hooks.values()):
                hook(self, (self, *args), kwargs)
            return result

        return step

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over all but the implementation, which is chosen for the devices of these weights."""
        saved = state_dict["param_groups"]
        if len(saved) == len(self.param_groups):
            own = [{name: group[name] for name in ("fused", "foreach")} for group in self.param_groups]
            groups = [{**group, **implementation} for group, implementation in zip(saved, own, strict=True)]
            state_dict = {**state_dict, "param_groups": groups}
        super().load_state_dict(state_dict)

    def _accelerator_graph_capture_health_check(self) -> None:
        # At every step PyTorch asks the driver whether a GPU records a graph: 0.5 ms that a CPU's weights can spare.
        if self.param_groups[0]["params"][0].device.type != "cpu":
            super()._accelerator_graph_capture_health_check()


def _at_once(group: dict[str, Any], states: Mapping[Any, dict[str, Tensor]]) -> tuple[list[Tensor], ...] | None:
    """What the fused kernel takes of a group; None unless all its weights are on the CPU and have stepped before."""
    weights = group["params"]
    gradients, known = [p.grad for p in weights], [state for p in weights if (state := states.get(p))]
    if not group["fused"] or group["amsgrad"] or len(known) < len(weights) or any(g is None for g in gradients):
        return None
    kinds = {(g.dtype, g.is_cpu, g.layout) for g in gradients}
    if len(kinds) != 1 or kinds.pop()[1:] != (True, torch.strided):
        return None
    moments, squares, steps = ([state[name] for state in known] for name in ("exp_avg", "exp_avg_sq", "step"))
    return weights, gradients, moments, squares, [], steps


class GANAdam(FusedAdam):
    """Adam with the settings of DCGAN (Radford et al. 2016, arXiv:1511.06434)."""

    def __init__(
        self,
        params: Iterable,
        lr: float = 2e-4,
        betas: tuple[float, float] = (0.5, 0.999),
        weight_decay: float = 0.0,
        fused: bool | None = None,
    ) -> None:
        super().__init__(params, lr=lr, betas=betas, weight_decay=weight_decay, fused=fused)


class WGANGPAdam(FusedAdam):
    """Adam with the settings of WGAN-GP (Gulrajani et al. 2017, arXiv:1704.00028): no momentum."""

    def __init__(
        self,
        params: Iterable,
        lr: float = 1e-4,
        betas: tuple[float, float] = (0.0, 0.9),
        weight_decay: float = 0.0,
        fused: bool | None = None,
    ) -> None:
        super().__init__(params, lr=lr, betas=betas, weight_decay=weight_decay, fused=fused)


class WGANRMSprop(torch.optim.RMSprop):
    """RMSprop with the settings of WGAN (Arjovsky et al. 2017, arXiv:1701.07875): no momentum."""

    def __init__(self, params: Iterable, lr: float = 5e-5, alpha: float = 0.99, weight_decay: float = 0.0) -> None:
        super().__init__(params, lr=lr, alpha=alpha, weight_decay=weight_decay)


class VAEAdam(FusedAdam):
    """Adam with its authors' settings (Kingma and Ba 2015, arXiv:1412.6980), the usual choice for VAEs."""


class AutoencoderAdam(FusedAdam):
    """Adam with the moments of VQGAN and latent diffusion (arXiv:2012.09841, arXiv:2112.10752).

    Their learning rate is 4.5e-6 times the number of images of a batch.
    """

    def __init__(
        self,
        params: Iterable,
        lr: float = 1e-4,
        betas: tuple[float, float] = (0.5, 0.9),
        weight_decay: float = 0.0,
        fused: bool | None = None,
    ) -> None:
        super().__init__(params, lr=lr, betas=betas, weight_decay=weight_decay, fused=fused)


class TransformerAdamW(FusedAdam):
    """AdamW (Loshchilov and Hutter 2019, arXiv:1711.05101) with the moments and decay of VQGAN's transformer.

    Its authors' learning rate is 4.5e-6 times the number of images of a batch.
    """

    def __init__(
        self,
        params: Iterable,
        lr: float = 5e-4,
        betas: tuple[float, float] = (0.9, 0.95),
        weight_decay: float = 0.01,
        fused: bool | None = None,
    ) -> None:
        super().__init__(
            params, lr=lr, betas=betas, weight_decay=weight_decay, fused=fused, decoupled_weight_decay=True
        )


def decay_groups(parameters: Iterable[nn.Parameter], layers: Iterable[nn.Module]) -> list[dict[str, Any]]:
    """The parameters in two groups: matrices and kernels, and what doesn't decay: embeddings, norms and biases.

    Args:
        parameters: All of them.
        layers: That they are of, among which embeddings are known by their class.
    """
    embeddings = {id(layer.weight) for layer in layers if isinstance(layer, nn.Embedding)}
    parameters = list(parameters)
    decayed = [p for p in parameters if p.ndim > 1 and id(p) not in embeddings]
    others = [p for p in parameters if p.ndim <= 1 or id(p) in embeddings]
    groups: list[dict[str, Any]] = [{"params": decayed}, {"params": others, "weight_decay": 0.0}]
    return [group for group in groups if group["params"]]


def for_lazy_penalty(
    make: Callable[[Iterable], torch.optim.Optimizer], interval: int
) -> Callable[[Iterable], torch.optim.Optimizer]:
    """Adam corrected for a penalty at every ``interval``-th update (StyleGAN2, arXiv:1912.04958, appendix B).

    With c = interval / (interval + 1) it gets lr c and betas to the power of c. There the penalty has steps of its
    own, and interval + 1 steps shall then move and forget as much as interval steps did.

    Raises:
        ValueError: by the result, for an optimizer without betas.
    """

    def corrected(parameters: Iterable) -> torch.optim.Optimizer:
        optimizer = make(parameters)
        c = interval / (interval + 1)
        for group in optimizer.param_groups:
            if "betas" not in group:
                raise ValueError(f"correct_optimizer=True: {type(optimizer).__name__} has no betas; take an Adam")
            group["lr"] *= c
            group["betas"] = tuple(beta**c for beta in group["betas"])
        return optimizer

    return corrected
