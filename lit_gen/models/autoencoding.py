"""What autoencoders of maps offer once they are trained: latents, indices, reconstructions."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from lit_gen.models.base import GenerativeModel
from lit_gen.models.codec import check_indices
from lit_gen.networks import Bottleneck, Quantizer, SpatialDecoder, SpatialEncoder

AT_ONCE = 64  # images, which bounds the memory


class AutoencodingModel(GenerativeModel):
    """Encoder, bottleneck and decoder, and what they are used for.

    Args:
        image_shape: ``(C, H, W)``.
        bottleneck: Makes what the latents are from (image_shape).
        encoder: Makes the encoder from (image_shape, channels that the bottleneck takes).
        decoder: Makes the decoder from (image_shape, channels of the latents).
        ema_half_life: Half-life of the weight averages in images; None for none.
        ema_ramp_up: Its bound as a share of the images seen; None for none.

    Attributes:
        latent_shape: ``(channels, h, w)``.

    Raises:
        ValueError: for points, or networks of different factors.
    """

    bottleneck: Bottleneck
    encoder: SpatialEncoder
    decoder: SpatialDecoder

    def __init__(
        self,
        image_shape: tuple[int, ...],
        bottleneck: Callable[[tuple[int, ...]], Bottleneck],
        encoder: Callable[[tuple[int, ...], int], SpatialEncoder],
        decoder: Callable[[tuple[int, ...], int], SpatialDecoder],
        ema_half_life: float | None,
        ema_ramp_up: float | None,
    ) -> None:
        super().__init__(image_shape, ema_half_life, ema_ramp_up)
        if len(self.image_shape) != 3:
            raise ValueError(f"image_shape={self.image_shape}: {type(self).__name__} is for images (C, H, W)")
        self.bottleneck = bottleneck(self.image_shape)
        self.encoder = encoder(self.image_shape, self.bottleneck.encoded_channels)
        self.decoder = decoder(self.image_shape, self.bottleneck.channels)
        ours, theirs = self.encoder.map_size, self.decoder.map_size
        if ours != theirs:
            raise ValueError(f"encoder to maps of {ours}, decoder from maps of {theirs}: the factors must be the same")
        self.latent_shape = (self.bottleneck.channels, *ours)

    def __getattr__(self, name: str) -> Any:
        """As of any module; without a prior there are no samples, which is told to who asks for them."""
        if name == "sample":
            raise AttributeError(self.without_prior())
        return super().__getattr__(name)

    def without_prior(self, source: str = "MODEL") -> str:
        """What to do in the place of drawing samples, in one line that names where the model comes from."""
        written = f"`lit-gen encode {source} DATA --out latents` (for a GAN or VAE)"
        if isinstance(self.bottleneck, Quantizer):
            written = f"`lit-gen encode {source} DATA --indices --out codes` (for a CodePrior)"
        return (
            f"{type(self).__name__} has no prior to sample from; fit a model to its latents, which {written} "
            "writes, or train a VAE"
        )

    def active(self, name: str) -> Any:
        """The network itself in training, else its average if one is kept."""
        return getattr(self, name) if self.training else self.network(name)

    # ---- use

    @torch.no_grad()
    def encode(self, images: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """The latents ``(N, *latent_shape)`` of images in [-1, 1], in eval mode: means, or vectors of codes.

        They are on no particular scale.

        Args:
            images: ``(N, *image_shape)``.
            generator: For samples of Gaussian latents in the place of their means: source of the noise, on the CPU.

        Raises:
            ValueError: for images of another shape, or a generator where the bottleneck takes no noise.
        """
        images = self._checked("images", images, self.image_shape)
        if generator is None:
            return self._by_parts(self._encode, images)
        if (shape := self.bottleneck.noise_shape(*self.latent_shape[1:])) is None:
            raise ValueError(f"generator={generator}: {type(self.bottleneck).__name__} latents take no noise")
        noise = torch.randn(len(images), *shape, generator=generator).to(images)
        return self._by_parts(self._encode, images, noise)

    @torch.no_grad()
    def decode(self, latents: Tensor) -> Tensor:
        """The images ``(N, *image_shape)`` in [-1, 1] of latents ``(N, *latent_shape)``, in eval mode.

        Raises:
            ValueError: for latents of another shape.
        """
        return self.from_latents(latents)

    def from_latents(self, latents: Tensor) -> Tensor:
        """As :meth:`decode`, with a gradient where one is asked for.

        Raises:
            ValueError: for latents of another shape.
        """
        return self._by_parts(self._decode, self._checked("latents", latents, self.latent_shape))

    @torch.no_grad()
    def reconstruct(self, images: Tensor) -> Tensor:
        """decode(encode(images))."""
        return self.decode(self.encode(images))

    @torch.no_grad()
    def indices(self, images: Tensor) -> Tensor:
        """The codes' numbers, int64 ``(N, h, w)``, of images in [-1, 1], in eval mode.

        Raises:
            ValueError: for a bottleneck without codes, or images of another shape.
        """
        quantizer = self.quantizer
        images = self._checked("images", images, self.image_shape)
        return self._by_parts(lambda x: quantizer.indices(self.network("encoder")(x)), images)

    @torch.no_grad()
    def decode_indices(self, indices: Tensor) -> Tensor:
        """The images ``(N, *image_shape)`` in [-1, 1] of codes' numbers ``(N, h, w)``, in eval mode.

        Raises:
            ValueError: for a bottleneck without codes, numbers of another shape or type, or out of range.
        """
        quantizer = self.quantizer
        check_indices(indices, self.latent_shape[1:], quantizer.codes)
        return self.decode(quantizer.lookup(indices.to(self.device, torch.int64)))

    @property
    def quantizer(self) -> Quantizer:
        """The bottleneck, if it has codes.

        Raises:
            ValueError: if it has none.
        """
        if not isinstance(self.bottleneck, Quantizer):
            raise ValueError(
                f"bottleneck={type(self.bottleneck).__name__}: its latents are no codes and have no indices"
            )
        return self.bottleneck

    def _encode(self, images: Tensor, noise: Tensor | None = None) -> Tensor:
        return self.bottleneck(self.network("encoder")(images), noise).latents.to(self.dtype)

    def _decode(self, latents: Tensor) -> Tensor:
        return self.network("decoder")(latents).clamp(-1, 1)

    def _by_parts(self, function: Callable[..., Tensor], *inputs: Tensor) -> Tensor:
        with self.evaluating():
            return torch.cat([function(*part) for part in zip(*(x.split(AT_ONCE) for x in inputs), strict=True)])

    def _checked(self, name: str, x: Tensor, shape: tuple[int, ...]) -> Tensor:
        if tuple(x.shape[1:]) != shape:
            raise ValueError(f"{name} of shape {tuple(x.shape)}: this {type(self).__name__} takes (N, *{shape})")
        return self.as_input(x, name)

    def labels_of(self, batch: tuple[Tensor, Tensor]) -> tuple[Tensor, ...]:
        """What `encode` takes beside the images: nothing."""
        return ()
