"""Pictures of what the latents mean: reconstructions, traversals, and what each layer of a hierarchy adds."""

import torch
from torch import Tensor

from lit_gen.modules.hierarchical_vae import HierarchicalVAE
from lit_gen.modules.vae import VAE
from lit_gen.pictures import image_grid, paired_grid
from lit_gen.training.randomness import mix

COLUMNS = 8  # of a grid of reconstructions
PLACES = 11  # along each latent dimension
REACH = 3.0  # standard deviations of N(0, 1) to either side
ROWS = 10  # latent dimensions, the most active ones


@torch.no_grad()
def reconstruction_grid(images: Tensor, module: VAE, *labels: Tensor) -> Tensor:
    """Rows of images, each above the row of their reconstructions from the mean of q(z|x).

    Args:
        images: ``(N, C, H, W)`` in [-1, 1].
        module: A VAE.
        *labels: ``(N,)`` of a conditional one.

    Returns:
        A uint8 picture ``(C, H', W')``.
    """
    with module.evaluating():
        reconstructions = module.decode(module.encode(images, *labels), *labels)
    return paired_grid(images, reconstructions, COLUMNS)


@torch.no_grad()
def traversal_grid(image: Tensor, activity: Tensor, module: VAE, *labels: Tensor) -> Tensor:
    """One image's code with one dimension at a time moved from −3 to 3: a row for each of the most active ones.

    Args:
        image: ``(1, C, H, W)`` in [-1, 1].
        activity: ``(latent_dim,)``, by which dimensions are chosen and ordered.
        module: A VAE.
        *labels: ``(1,)`` of a conditional one.

    Returns:
        A uint8 picture ``(C, H', W')``.
    """
    chosen = activity.argsort(descending=True)[:ROWS].tolist()
    places = torch.linspace(-REACH, REACH, PLACES)
    with module.evaluating():
        z = module.encode(image, *labels).repeat(len(chosen), PLACES, 1)
        for row, dimension in enumerate(chosen):
            z[row, :, dimension] = places.to(z)
        images = module.decode(z.flatten(0, 1), *(y.expand(len(chosen) * PLACES) for y in labels))
    return image_grid(images, columns=PLACES)


@torch.no_grad()
def layer_grid(images: Tensor, module: HierarchicalVAE, seed: int = 0) -> Tensor:
    """What each layer adds: for some images, a row for each level, above which the code is q's and below it drawn anew.

    The first row draws nothing anew, it is the reconstruction; the last draws all layers, so it has nothing of the
    image. A layer has collapsed where the rows above and below it vary alike.

    Args:
        images: ``(N, C, H, W)`` in [-1, 1]; the first two are shown, in the first column.
        module: A hierarchy.
        seed: Of the draws.

    Returns:
        A uint8 picture ``(C, H', W')``.
    """
    rows = []
    for image in images[:2].split(1):
        for level in range(module.stochastic_layers + 1):
            generator = torch.Generator().manual_seed(mix(seed, "layers"))
            drawn = module.vary(level, 1, COLUMNS - 1, image, generator)
            rows.append(torch.cat([image.to(drawn), drawn[0]]))
    return image_grid(torch.cat(rows), columns=COLUMNS)
