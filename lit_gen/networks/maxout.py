"""The fully connected maxout discriminator with which PacGAN measures modes (Lin et al. 2018, arXiv:1712.04086)."""

from torch import Tensor, nn

from lit_gen.networks.conditioning import DiscriminatorCondition, LabelSequential
from lit_gen.networks.mlp import VectorDiscriminator


class Maxout(nn.Module):
    """The largest of each unit's pieces: hⱼ = maxᵢ (W x + b)ᵢⱼ (Goodfellow et al. 2013, arXiv:1302.4389, section 3).

    Args:
        in_features: D.
        width: units.
        pieces: affine functions of a unit.
    """

    def __init__(self, in_features: int, width: int, pieces: int):
        super().__init__()
        self.affine = nn.Linear(in_features, pieces * width)
        self.pieces = pieces

    def forward(self, x: Tensor) -> Tensor:
        """`(N, D)` to `(N, width)`."""
        return self.affine(x).unflatten(1, (self.pieces, -1)).amax(1)


class MaxoutMLPDiscriminator(VectorDiscriminator):
    """`depth` hidden maxout layers of `width` units, then a linear score.

    The default is PacGAN's discriminator of 2-D points (section 4.1); packed samples are wider points to it.

    Args:
        image_shape: `(C, H, W)` or `(D,)`.
        num_classes: number of classes, 0 for none.
        width: units of a hidden layer.
        depth: hidden layers; with 0 the network is linear.
        pieces: affine functions of a unit, of which the largest counts.
        condition: how labels are taken.

    Raises:
        ValueError: for a width or pieces below 1, or a negative depth.
    """

    def __init__(
        self,
        image_shape: tuple[int, ...],
        num_classes: int = 0,
        width: int = 200,
        depth: int = 3,
        pieces: int = 5,
        condition: DiscriminatorCondition = "projection",
    ):
        super().__init__(image_shape, num_classes, condition)
        if width < 1 or depth < 0 or pieces < 1:
            raise ValueError(
                f"width={width}, depth={depth}, pieces={pieces}: MaxoutMLPDiscriminator needs a width and pieces of at "
                "least 1, a depth of at least 0"
            )
        sizes = [self.in_features, *[width] * depth]
        hidden = [Maxout(size, width, pieces) for size in sizes[:-1]]
        self.layers = LabelSequential(*hidden, nn.Linear(sizes[-1], 1))
        self.add_head(self.layers[-1])
