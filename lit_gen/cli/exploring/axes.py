"""The directions of latent space that the page's sliders can move along."""

from pathlib import Path

import torch

from lit_gen.cli.exploring.latents import decode, from_noise
from lit_gen.files import read_json
from lit_gen.latent_space import Directions, load_direction, principal, sefa
from lit_gen.latent_space.directions import network_of_latents
from lit_gen.latent_space.stored import DESCRIPTION
from lit_gen.models import LatentVariableModel

STRONGEST, COMPONENTS, FIRST_LAYER, ENTRIES = "strongest change", "features (PCA)", "first layer (SeFa)", "entries of z"
AT_ONCE = 64  # images, which bounds the memory


class Axes:
    """Directions by kind, each found when it is first asked for.

    Args:
        model: The model.
        folder: Of ``lit-gen directions``, whose directions are a further kind, named as the folder.

    Raises:
        FileNotFoundError: if the folder holds no directions.
        ValueError: for directions of another model.
    """

    def __init__(self, model: LatentVariableModel, folder: str | Path | None = None) -> None:
        self.model = model
        self._found: dict[str, Directions] = {}
        if folder is not None:
            self._found[Path(folder).name] = stored(model, folder)
        by_network = (COMPONENTS, FIRST_LAYER) if _has_network(model) else ()
        by_gradient = (STRONGEST,) if model.smooth else ()
        self.kinds = (*self._found, *by_gradient, *by_network, ENTRIES)

    def of(self, kind: str) -> Directions:
        """All directions of a kind.

        Raises:
            ValueError: for a kind that there is not, or that the model has no directions of.
        """
        if kind not in self.kinds:
            raise ValueError(f"directions {kind}: one of {', '.join(self.kinds)}")
        if kind not in self._found:
            self._found[kind] = self._find(kind)
        return self._found[kind]

    def _find(self, kind: str) -> Directions:
        if kind == COMPONENTS:
            return principal(self.model, self.model.latent_dim)
        if kind == FIRST_LAYER:
            return sefa(self.model, self.model.latent_dim)
        return strongest(self.model) if kind == STRONGEST else entries(self.model)


def stored(model: LatentVariableModel, folder: str | Path) -> Directions:
    """All directions in a folder of ``lit-gen directions``.

    Raises:
        FileNotFoundError: if there are none.
        ValueError: for those of another model, or a damaged file.
    """
    about = read_json(Path(folder) / DESCRIPTION).get("directions", {})
    names = tuple(about) or ("any",)  # of which loading says that it isn't there
    vectors = torch.stack([load_direction(Path(folder) / name, model).float().cpu() for name in names])
    return Directions(names, vectors, torch.tensor([float(about[name]["weight"]) for name in names]))


def entries(model: LatentVariableModel) -> Directions:
    """The unit vectors."""
    count = model.noise_dim
    return Directions(tuple(f"z {i}" for i in range(count)), torch.eye(count), torch.ones(count))


def strongest(model: LatentVariableModel, probes: int = 256, seed: int = 0) -> Directions:
    """Orthonormal directions of z in which images change most, by falling mean square change.

    They are the eigenvectors of E_z[Jᵀ J], J the Jacobian of the image in z (Constantine 2015, Active Subspaces,
    chapter 3), which is estimated as the mean of g gᵀ, g = Jᵀ u, over samples z and random u ~ N(0, I).

    Args:
        model: The model.
        probes: Pairs of z and u.
        seed: Of both, and of labels.
    """
    generator = torch.Generator().manual_seed(seed)
    second = torch.zeros(model.noise_dim, model.noise_dim, dtype=torch.float64)
    for part in torch.arange(probes).split(AT_ONCE):
        noise = torch.randn(len(part), model.noise_dim, generator=generator)
        labels = model.classes(len(part), None, generator)
        z = from_noise(model, noise).to(model.device, model.dtype).requires_grad_()
        with torch.enable_grad(), model.evaluating():
            images = decode(model, z, *(y.to(model.device) for y in labels))
            u = torch.randn(images.shape, generator=generator).to(images)
            (gradients,) = torch.autograd.grad((images * u).sum(), z)
        g = gradients.double().cpu()
        second += g.T @ g / probes
    values, vectors = torch.linalg.eigh(second)
    names = tuple(f"direction {i + 1}" for i in range(len(values)))
    return Directions(names, vectors.flip(1).T.float(), values.flip(0).float())


def _has_network(model: LatentVariableModel) -> bool:
    try:
        network_of_latents(model)
    except ValueError:
        return False
    return True
