"""Looking into trained models: latents of given images, and directions in which images change. Plain PyTorch."""

from lit_gen.latent_space.directions import Directions, of_classes, of_groups, principal, sefa
from lit_gen.latent_space.inversion import Inversion, Search, check_invertible, decoded, invert
from lit_gen.latent_space.stored import fingerprint, load_direction, save_directions
from lit_gen.latent_space.traversal import sheet, traverse

__all__ = [
    "Directions",
    "Inversion",
    "Search",
    "check_invertible",
    "decoded",
    "fingerprint",
    "invert",
    "load_direction",
    "of_classes",
    "of_groups",
    "principal",
    "save_directions",
    "sefa",
    "sheet",
    "traverse",
]
