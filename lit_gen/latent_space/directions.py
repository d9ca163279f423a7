"""Directions of latent space in which images change: of weights, of features, of groups."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lit_gen.models import GenerativeModel, LatentVariableModel

AT_ONCE = 250  # samples, which bounds the memory


@dataclass(frozen=True)
class Directions:
    """Unit vectors of latent space.

    Args:
        names: One for each.
        vectors: ``(K, latent_dim)`` of length 1.
        weights: What they are ordered by, ``(K,)``: eigenvalues, variances, distances of means or accuracies.
    """

    names: tuple[str, ...]
    vectors: Tensor
    weights: Tensor


def network_of_latents(model: GenerativeModel) -> nn.Module:
    """The network that takes the latents, its average if one is kept.

    Raises:
        ValueError: for a model without one.
    """
    own = dict(model.named_children())
    name = next((name for name in ("generator", "decoder") if name in own), None)
    if not isinstance(model, LatentVariableModel) or name is None:
        raise ValueError(f"a {type(model).__name__} has no network that makes images of latent vectors alone")
    return model.network(name)


def sefa(model: GenerativeModel, count: int = 8) -> Directions:
    """Closed-form factors (Shen and Zhou 2021, arXiv:2007.06600): eigenvectors of AᵀA, the largest first.

    A is the weight of the first affine layer, y = A z + b, as it is: neither its rows nor its columns are normalised.
    A step along its k-th eigenvector moves y by the square root of the k-th eigenvalue. A vector's largest entry is
    positive.

    Args:
        model: A model of latent vectors.
        count: Directions, at most ``latent_dim``.

    Raises:
        ValueError: for a model whose latents meet no linear layer first.
    """
    a = first_affine(model).double()
    values, vectors = torch.linalg.eigh(a.T @ a)
    values, vectors = values.flip(0)[:count], vectors.flip(1).T[:count]
    return Directions(tuple(f"sefa_{i}" for i in range(len(values))), _signed(vectors), values.float())


@torch.no_grad()
def first_affine(model: GenerativeModel) -> Tensor:
    """The weight ``(features, latent_dim)`` of the first linear layer that latents pass, without joined labels' part.

    Raises:
        ValueError: for a model without such a layer.
    """
    network = network_of_latents(model)
    found: list[Tensor] = []
    assert isinstance(model, LatentVariableModel)
    z, labels = _noise(model, 2, 0)

    def look(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        x = inputs[0]
        if x.ndim == 2 and x.shape[1] >= z.shape[1] and torch.equal(x[:, : z.shape[1]], z):
            found.append(layer.get_parameter("weight"))

    hooks = [layer.register_forward_pre_hook(look) for layer in network.modules() if isinstance(layer, nn.Linear)]
    try:
        with model.evaluating():
            model.decode(z, *labels)
    finally:
        for hook in hooks:
            hook.remove()
    if not found:
        raise ValueError(f"the latents of this {type(network).__name__} meet no linear layer first")
    return found[0].detach()[:, : z.shape[1]]


@torch.no_grad()
def principal(
    model: GenerativeModel, count: int = 8, layer: str | None = None, samples: int = 1000, seed: int = 0
) -> Directions:
    """Principal components of features (GANSpace, Härkönen et al. 2020, arXiv:2004.02546), as directions of z.

    Features y of samples are projected on their principal components, x = Vᵀ(y − μ), and each direction is the row u of
    the least squares z ≈ xᵀU (the paper's equation 2), scaled to length 1.

    Args:
        model: A model of latent vectors.
        count: Directions, at most ``latent_dim``.
        layer: Name of the submodule whose output the features are; None for the network's first activation, or its
            images if there is none.
        samples: From which components are computed.
        seed: Of the samples.

    Raises:
        ValueError: for a layer that there is not.
    """
    network = network_of_latents(model)
    assert isinstance(model, LatentVariableModel)
    named = dict(network.named_modules())
    if layer is not None and layer not in named:
        raise ValueError(f"layer={layer}: this {type(network).__name__} has {', '.join(filter(None, named))}")
    z, labels = _noise(model, samples, seed)
    watched = [named[layer]] if layer is not None else [m for m in named.values() if _activates(m)]
    features = []
    with model.evaluating():
        for part, *ys in zip(*(x.split(AT_ONCE) for x in (z, *labels)), strict=True):
            seen: list[Tensor] = []
            hooks = [module.register_forward_hook(lambda *hooked: seen.append(hooked[2])) for module in watched]  # noqa: B023
            try:
                images = model.decode(part, *ys)
            finally:
                for hook in hooks:
                    hook.remove()
            features.append((seen[0] if seen else images).flatten(1))
    y, z = torch.cat(features).double(), z.double()
    y, z = y - y.mean(0), z - z.mean(0)
    values, components = torch.linalg.eigh(y @ y.T)  # of the samples, which are fewer than most layers' features
    count = min(count, z.shape[1])
    values, components = values.flip(0)[:count], components.flip(1).T[:count]
    vectors = components @ z  # the least squares up to a factor for each row, as the components are orthogonal
    return Directions(tuple(f"pca_{i}" for i in range(count)), _signed(vectors), (values / (samples - 1)).float())


def of_groups(first: Tensor, second: Tensor, method: str = "means") -> tuple[Tensor, float]:
    """The direction from one group of latents to another, of length 1.

    Args:
        first: ``(N, D)``.
        second: ``(M, D)``.
        method: ``means`` for the difference of means; ``svm`` for the normal of the plane that separates them best,
            by a linear support vector machine of balanced classes (InterFaceGAN, Shen et al. 2020, arXiv:1907.10786).

    Returns:
        The direction ``(D,)``, and the distance of the means, or the share of latents on their side of the plane.

    Raises:
        ValueError: for an empty group, groups of other dimensions, or another method.
    """
    if not len(first) or not len(second) or first.shape[1:] != second.shape[1:]:
        raise ValueError(f"groups of shapes {tuple(first.shape)} and {tuple(second.shape)}: latents (N, D) of both")
    first, second = first.double().cpu(), second.double().cpu()
    if method == "means":
        normal = second.mean(0) - first.mean(0)
        weight = normal.norm().item()
    elif method == "svm":
        from sklearn.svm import LinearSVC

        x = torch.cat([first, second]).numpy()
        y = torch.cat([torch.zeros(len(first)), torch.ones(len(second))]).numpy()
        machine = LinearSVC(class_weight="balanced", dual="auto", max_iter=10_000, random_state=0).fit(x, y)
        normal, weight = torch.from_numpy(machine.coef_[0]), float(machine.score(x, y))
    else:
        raise ValueError(f"method={method!r}: 'means' or 'svm'")
    return torch.nn.functional.normalize(normal, dim=0).float(), weight


def of_classes(latents: Tensor, labels: Tensor, names: Sequence[str], method: str = "means") -> Directions:
    """For each class that occurs the direction from all others to it, as :func:`of_groups`.

    Args:
        latents: ``(N, D)``.
        labels: ``(N,)``.
        names: Of the classes.
        method: ``means`` or ``svm``.

    Raises:
        ValueError: for a single class.
    """
    occurring = labels.unique().tolist()
    if len(occurring) < 2:
        raise ValueError(f"latents of {len(occurring)} class: at least 2 are needed to tell them apart")
    found = [of_groups(latents[labels != label], latents[labels == label], method) for label in occurring]
    vectors, weights = torch.stack([vector for vector, _ in found]), torch.tensor([weight for _, weight in found])
    return Directions(tuple(f"{method}_{names[label]}" for label in occurring), vectors, weights)


def _noise(model: LatentVariableModel, n: int, seed: int) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Latents of n samples, and labels if the model is conditional."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(n, model.latent_dim, generator=generator).to(model.device, model.dtype)
    with model.evaluating():
        return model.latents(noise), tuple(y.to(model.device) for y in model.classes(n, None, generator))


def _signed(vectors: Tensor) -> Tensor:
    """Rows of length 1 whose largest entry is positive."""
    largest = vectors.gather(1, vectors.abs().argmax(1, keepdim=True))
    return torch.nn.functional.normalize(vectors * largest.sign(), dim=1).float()


def _activates(module: nn.Module) -> bool:
    return type(module).__module__ == "torch.nn.modules.activation"
