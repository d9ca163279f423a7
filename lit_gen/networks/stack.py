"""The shapes of a stack of stochastic layers and the blocks between them, fully connected or convolutional."""

import math
from abc import abstractmethod

from torch import Tensor, nn

from lit_gen.networks.layers import Norm, norm_1d, norm_2d
from lit_gen.networks.stochastic import Conditional, Hierarchy, Posterior, TopDownLayer, over_samples

Shape = tuple[int, ...]
SMALLEST_SIDE = 4  # maps of this side or less keep it, unless the strides say otherwise


class Stack(Hierarchy):
    """What the three have in common: the shapes of their layers and the blocks between them.

    Args:
        image_shape: `(C, H, W)` or `(D,)`.
        output_shape: of the likelihood's parameters.
        latent_dims: dimensions of z_1, …, z_T, nearest to x first; convolutional: their channels.
        widths: hidden units beside each of them; convolutional: channels.
        depth: hidden layers between two stochastic ones.
        norm: norm of the hidden layers: "batch", "layer" or "none", and "instance" for maps.
        convolutional: z_t and the hidden layers are feature maps, of any height and width.
        strides: convolutional: 2 for each layer whose maps are half as high and wide as those below, 1 for others.
            By default maps above 4 pixels are halved: 28, 14, 7, 4, 4.

    Raises:
        ValueError: for no layers, lists of different lengths, numbers below 1, or maps without an image.
    """

    up: nn.ModuleList

    def __init__(
        self,
        image_shape: Shape,
        output_shape: Shape,
        latent_dims: tuple[int, ...] = (32, 16, 8),
        widths: tuple[int, ...] = (256, 128, 64),
        depth: int = 1,
        norm: Norm = "none",
        convolutional: bool = False,
        strides: tuple[int, ...] | None = None,
    ):
        image_shape, output_shape = tuple(image_shape), tuple(output_shape)
        _check(image_shape, latent_dims, widths, depth, convolutional, strides)
        sides = _sides(image_shape[1:], len(widths), strides) if convolutional else [()] * len(widths)
        super().__init__(image_shape, output_shape, [(d, *side) for d, side in zip(latent_dims, sides, strict=True)])
        self.features: list[Shape] = [(width, *side) for width, side in zip(widths, sides, strict=True)]
        self.depth, self.norm = depth, norm
        self.build()

    @abstractmethod
    def build(self) -> None:
        """Make the networks of inference, `layers` and `output`."""

    def block(self, start: Shape, end: Shape) -> list[nn.Module]:
        """`depth` hidden layers, the first from `start` to `end`."""
        starts = [start, *[end] * (self.depth - 1)]
        return [layer for shape in starts for layer in hidden(shape, end, self.norm)]

    def conditional(self, start: Shape, t: int) -> Conditional:
        """A Gaussian over layer t's z given `start`, by the hidden layers beside it."""
        return Conditional(*self.block(start, self.features[t]), self.head(t))

    def head(self, t: int) -> nn.Module:
        """From the hidden layer beside z_t to its mean and raw log σ."""
        channels, *side = self.latent_shapes[t]
        return linear(self.features[t], (2 * channels, *side))

    def upward(self) -> nn.ModuleList:
        """Blocks of d_1, …, d_T, deterministic, each from the one below, d_1 from x."""
        starts = [self.image_shape, *self.features[:-1]]
        return nn.ModuleList(nn.Sequential(*self.block(*pair)) for pair in zip(starts, self.features, strict=True))

    def climb(self, x: Tensor) -> list[Tensor]:
        """d_1, …, d_T of x, `(1, N, ...)`."""
        path = [x.unsqueeze(0)]
        for block in self.up:
            path.append(over_samples(block, path[-1]))
        return path[1:]

    def markov(self, posteriors: list[Posterior], independent: bool) -> None:
        """The generative model of a chain: p(x | z_1) and p(z_t | z_{t+1}), each layer with its posterior."""
        priors = [self.conditional(above, t) for t, above in enumerate(self.latent_shapes[1:])]
        self.layers = nn.ModuleList(
            TopDownLayer(shape, prior, posterior, independent=independent or prior is None)
            for shape, prior, posterior in zip(self.latent_shapes, [*priors, None], posteriors, strict=True)
        )
        bottom = self.features[0]
        self.output = nn.Sequential(*self.block(self.latent_shapes[0], bottom), linear(bottom, self.output_shape))


def linear(start: Shape, end: Shape, bias: bool = True) -> nn.Module:
    """A linear map; between maps a convolution, which halves (rounding up), keeps or doubles the sides."""
    if len(start) == 1 or len(end) == 1:
        dense = nn.Linear(math.prod(start), math.prod(end), bias=bias)
        return nn.Sequential(nn.Flatten(), dense, nn.Unflatten(1, end))
    if start[1:] == end[1:]:
        return nn.Conv2d(start[0], end[0], 3, 1, 1, bias=bias)
    larger = max(start[1:], end[1:])
    # 4 halves and doubles even sides exactly, and covers all pixels alike; odd ones, 7 from 4, need 3.
    kernel = (4 - larger[0] % 2, 4 - larger[1] % 2)
    convolution = nn.Conv2d if larger == start[1:] else nn.ConvTranspose2d
    return convolution(start[0], end[0], kernel, 2, 1, bias=bias)


def hidden(start: Shape, end: Shape, norm: Norm) -> list[nn.Module]:
    """A hidden layer: linear map, norm, leaky ReLU."""
    normalise = norm_1d(norm, end[0]) if len(end) == 1 else norm_2d(norm, end[0])
    return [linear(start, end, bias=norm == "none"), normalise, nn.LeakyReLU(0.1)]


def _sides(side: Shape, layers: int, strides: tuple[int, ...] | None) -> list[Shape]:
    found = []
    for t in range(layers):
        stride = strides[t] if strides is not None else 2 if max(side) > SMALLEST_SIDE else 1
        side = tuple(-(-pixels // stride) for pixels in side)
        found.append(side)
    return found


def _check(
    image_shape: Shape, latent_dims: Shape, widths: Shape, depth: int, convolutional: bool, strides: Shape | None
) -> None:
    given = f"latent_dims={list(latent_dims)}, widths={list(widths)}"
    if not latent_dims or len(latent_dims) != len(widths):
        raise ValueError(f"{given}: one number of each is needed for every layer")
    if min(*latent_dims, *widths, depth) < 1:
        raise ValueError(f"{given}, depth={depth}: all must be at least 1")
    if convolutional and len(image_shape) != 3:
        raise ValueError(f"image_shape={image_shape}: convolutional=true needs images (C, H, W)")
    if strides is not None and not convolutional:
        raise ValueError(f"strides={list(strides)}: only convolutional=true has strides")
    if strides is not None and (len(strides) != len(widths) or not set(strides) <= {1, 2}):
        raise ValueError(f"strides={list(strides)}: a 1 or a 2 is needed for each of the {len(widths)} layers")
