"""What ``lit-gen sample`` draws: samples, paths between latents and along directions, and frames of them."""

import argparse
import math
from collections.abc import Iterator

import torch
from torch import Tensor

from lit_gen.cli.words import CommandParser
from lit_gen.distributions.latents import PATHS, truncated_normal
from lit_gen.latent_space import load_direction, traverse
from lit_gen.models import LatentVariableModel

STRENGTH = (-3.0, 3.0)
KEYS, FRAMES, FPS = 4, 60, 20.0


def add_drawing(command: CommandParser) -> None:
    """Adds the options that say which latents are drawn."""
    command.add_argument(
        "--interpolate",
        nargs="?",
        const="spherical",
        choices=sorted(PATHS),
        help="paths between pairs of latents, one a row: along great circles (the default) or straight lines",
    )
    command.add_argument("--direction", help="a direction of lit-gen directions, FOLDER/NAME: a row along it each")
    command.add_argument(
        "--strength", type=float, nargs=2, metavar=("FROM", "TO"), help="how far along --direction (-3 3)"
    )
    command.add_argument("--steps", type=int, default=8, help="images of a row, its ends included (8)")
    command.add_argument(
        "--truncation", type=float, help="draw latents from the normal distribution within this bound: less variety"
    )
    command.add_argument(
        "--video",
        help="a .gif, .webp or, by ffmpeg, .mp4 file in place of --out: -n images that move at once, with "
        "--interpolate along closed paths, with --direction there and back",
    )
    command.add_argument("--keys", type=int, help=f"of --interpolate --video: latents that each passes ({KEYS})")
    command.add_argument("--frames", type=int, help=f"of --video ({FRAMES})")
    command.add_argument("--fps", type=float, help=f"of --video: frames a second ({FPS:g})")


def check_drawing(options: argparse.Namespace) -> None:
    """Refuse options that are out of range or don't go together; fill in what isn't said.

    Raises:
        ValueError: naming the option.
    """
    if options.interpolate and options.direction:
        raise ValueError(f"--direction {options.direction}: not together with --interpolate")
    if options.strength is not None and not options.direction:
        raise ValueError(f"--strength {options.strength[0]:g} {options.strength[1]:g}: for --direction alone")
    for name in ("keys", "frames", "fps"):
        if getattr(options, name) is not None and not options.video:
            raise ValueError(f"--{name} {getattr(options, name):g}: for --video alone")
    if options.video and not (options.interpolate or options.direction):
        raise ValueError(f"--video {options.video}: needs --interpolate or --direction")
    if options.keys is not None and not options.interpolate:
        raise ValueError(f"--keys {options.keys}: for --interpolate alone")
    for name, least, default in (("keys", 2, KEYS), ("frames", 2, FRAMES)):
        value = default if getattr(options, name) is None else getattr(options, name)
        if value < least:
            raise ValueError(f"--{name} {value}: at least {least}")
        setattr(options, name, value)
    options.fps = FPS if options.fps is None else options.fps
    options.strength = STRENGTH if options.strength is None else tuple(options.strength)
    in_rows = (options.interpolate or options.direction) and not options.video
    if in_rows and (options.steps < 2 or options.n % options.steps):
        raise ValueError(f"--steps {options.steps}: at least 2, and a divisor of -n {options.n}")


def check_latents(module: LatentVariableModel, options: argparse.Namespace) -> None:
    """Replace the name of the direction by its vector; refuse what the model's latents don't suit.

    Raises:
        ValueError: for a direction that there is not, or one of another model, or a truncation of codes.
    """
    if options.truncation is not None and not module.smooth:
        # The middle of a distribution over codes is those in the middle of their numbering, which has no order.
        raise ValueError(
            f"--truncation {options.truncation:g}: a {type(module).__name__} draws codes by quantiles, not nearer to a "
            "mean; take --temperature, --top_k or --top_p"
        )
    if options.direction:
        try:
            options.direction = load_direction(options.direction, module)
        except FileNotFoundError as error:
            raise FileNotFoundError(f"--direction {error}") from None
        except ValueError as error:
            told = str(error)
            name = "" if told.startswith(f"{options.direction}:") else f"{options.direction}: "
            raise ValueError(f"--direction {name}{told}") from None


def draw(module: LatentVariableModel, options: argparse.Namespace) -> tuple[Tensor, Tensor]:
    """Images ``(n, *picture_shape)`` and their labels ``(n,)``, zeros for an unconditional model."""
    generator = torch.Generator().manual_seed(options.seed)
    in_rows = options.interpolate or options.direction is not None
    rows = options.n // options.steps if in_rows else options.n
    z = _noise(module, 2 * rows if options.interpolate else rows, options, generator)
    labels = _labels(module, rows, options, generator)
    if options.direction is not None:
        images = _along(module, z, options.direction, _strengths(options), labels)
    else:
        if options.interpolate:
            places = torch.linspace(0, 1, options.steps)
            z = PATHS[options.interpolate](z[:rows, None], z[rows:, None], places).flatten(0, 1)
        images = module.generate(z, *(y.repeat_interleave(len(z) // rows) for y in labels))
    labels = tuple(y.repeat_interleave(len(images) // rows) for y in labels)
    return images.float().cpu(), labels[0] if labels else torch.zeros(len(images), dtype=torch.int64)


def draw_frames(module: LatentVariableModel, options: argparse.Namespace) -> tuple[Iterator[Tensor], Tensor]:
    """Frames of images ``(n, *picture_shape)``, the last of which leads to the first, and their labels ``(n,)``."""
    generator = torch.Generator().manual_seed(options.seed)
    keys = options.keys if options.interpolate else 1
    noise = _noise(module, options.n * keys, options, generator).unflatten(0, (keys, options.n))
    labels = _labels(module, options.n, options, generator)

    def frames() -> Iterator[Tensor]:
        for frame in range(options.frames):
            place = frame / options.frames
            if options.direction is not None:
                low, high = options.strength
                strength = (low + high - (high - low) * math.cos(2 * math.pi * place)) / 2
                images = _along(module, noise[0], options.direction, torch.tensor([strength]), labels)
            else:
                key, part = divmod(place * keys, 1)
                ends = noise[int(key)], noise[(int(key) + 1) % keys]
                images = module.generate(PATHS[options.interpolate](*ends, part), *labels)
            yield images.float().cpu()

    return frames(), labels[0] if labels else torch.zeros(options.n, dtype=torch.int64)


def _noise(module: LatentVariableModel, n: int, options: argparse.Namespace, generator: torch.Generator) -> Tensor:
    """N(0, 1) that a sample, or the latents that a direction starts from, are made from."""
    dimension = module.noise_dim if options.direction is None else module.latent_dim
    if options.truncation is None:
        return torch.randn(n, dimension, generator=generator)
    return truncated_normal(n, dimension, options.truncation, generator)


def _labels(
    module: LatentVariableModel, n: int, options: argparse.Namespace, generator: torch.Generator
) -> tuple[Tensor, ...]:
    given = None if options.labels is None else torch.tensor(options.labels).repeat(-(-n // len(options.labels)))
    return module.classes(n, None if given is None else given[:n], generator)


def _strengths(options: argparse.Namespace) -> Tensor:
    low, high = options.strength
    return torch.linspace(low, high, options.steps)


def _along(
    module: LatentVariableModel, noise: Tensor, direction: Tensor, strengths: Tensor, labels: tuple[Tensor, ...]
) -> Tensor:
    """Images ``(N S, *picture_shape)`` along a direction, from samples of the prior."""
    with torch.no_grad(), module.evaluating():
        latents = module.latents(noise.to(module.device, module.dtype))
    return traverse(module, latents, direction, strengths, *labels).flatten(0, 1)
