"""What a game of two players is measured by: gradients, ranks, distances, and copies of the players to measure on."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from lit_gen.losses import NonSaturating
from lit_gen.losses.adversarial import AdversarialLoss
from lit_gen.modules.gan import GAN
from lit_gen.networks.layers import BATCH_NORMS
from lit_gen.training.randomness import Randomness
from lit_gen.training.sync_batch_norm import localise


@contextmanager
def substitutes(module: GAN) -> Iterator[GAN]:
    """A module that shares all with ``module`` but its noise and its players, frozen copies in float32.

    They are in eval mode but for batch norms, which take the batch's statistics (those across processes would wait).
    """
    twin = copy.copy(module)
    twin.random = Randomness()
    twin.random.reseed(module.seed or 0, "game", device=module.device)
    networks = {name: module.get_submodule(name) for name in ("generator", "discriminator")}
    copies = {name: localise(copy.deepcopy(network)) for name, network in networks.items()}
    twin.__dict__["_modules"] = {**module._modules, **copies}
    for network in copies.values():
        network.float().requires_grad_(False).eval()
        for layer in network.modules():
            if isinstance(layer, BATCH_NORMS) and not isinstance(layer, nn.SyncBatchNorm):
                layer.train()
    devices = [module.device] if module.device.type == "cuda" else []
    with torch.random.fork_rng(devices), torch.autocast(module.device.type, enabled=False):
        yield twin


def gradient_ratio(loss: AdversarialLoss, real_scores: Tensor, fake_scores: Tensor, fake: Tensor) -> float:
    """Mean ‖∂L_G/∂x‖ of a sample x over that of the non-saturating loss; nan where D is flat.

    The scores are ``(N,)``, the fake ones a function of ``fake`` ``(N, *)``, which requires a gradient.
    """
    norms = []
    for objective in (loss, NonSaturating()):
        (gradient,) = torch.autograd.grad(objective.generator(fake_scores, real_scores), fake, retain_graph=True)
        norms.append(gradient.flatten(1).norm(dim=1).mean())
    return (norms[0] / norms[1]).item()


def auc(real_scores: Tensor, fake_scores: Tensor) -> float:
    """Share of the pairs of scores, ``(N,)`` and ``(M,)``, of which the real one is higher; ties count half."""
    margins = real_scores[:, None] - fake_scores
    return ((margins > 0).float() + 0.5 * (margins == 0)).mean().item()


def mean_distance(images: Tensor) -> float:
    """Mean Euclidean distance of two different ones of the images ``(N, *)``."""
    return torch.pdist(images.detach().flatten(1).cpu()).mean().item()


def share_clipped(network: nn.Module, bound: float) -> float:
    """Share of the weights at ±``bound``."""
    return (nn.utils.parameters_to_vector(network.parameters()).detach().abs() >= bound).float().mean().item()
