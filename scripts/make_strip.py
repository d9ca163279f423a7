"""The README's first picture: samples of shipped models beside pairs cut out of two pictures of docs/images.

    python scripts/make_strip.py docs/images/strip.png

Samples are drawn with seed 0 and not chosen. The pairs are the first eight of ``autoencoder_kl_cifar10.png`` (images
above reconstructions) and of ``pix2pix_cifar10.png`` (grey above coloured, both test images of CIFAR-10).
"""

import sys
from pathlib import Path

import torch
from PIL import Image, ImageDraw, ImageFont

from lit_gen import from_pretrained
from lit_gen.pictures import GAP, image_grid

PICTURES = Path(__file__).parent.parent / "docs" / "images"
CELL = 64  # pixels of an image of 32, twice as large
PITCH = CELL + GAP
SIDE = 4 * PITCH - GAP  # of a panel of 4 x 4
MARGIN, CAPTION = 12, 26


def drawn(name: str, labels: list[int] | None = None) -> Image.Image:
    """Sixteen samples, of a conditional model one class a row."""
    model = from_pretrained(name, training=False)
    torch.manual_seed(0)
    images = model.sample(16) if labels is None else model.sample(16, labels=torch.tensor(labels).repeat_interleave(4))
    grid = image_grid(images, columns=4, cell=56)
    return Image.fromarray(grid.permute(1, 2, 0).numpy().squeeze()).convert("RGB").resize((SIDE, SIDE), Image.LANCZOS)


def cut_out(name: str) -> Image.Image:
    """Two rows of four pairs, from the first two rows of eight."""
    picture = Image.open(PICTURES / f"{name}.png").convert("RGB")
    panel = Image.new("RGB", (SIDE, SIDE), (128, 128, 128))
    for half in range(2):
        left = half * 4 * PITCH
        panel.paste(picture.crop((left, 0, left + SIDE, 2 * PITCH - GAP)), (0, half * 2 * PITCH))
    return panel


def main(out: str) -> None:
    """Write the strip."""
    panels = {
        "GAN": drawn("rpgan_mnist"),
        "conditional VAE": drawn("cvae_mnist", [2, 3, 5, 8]),
        "conditional GAN": drawn("rpgan_cifar10", [1, 7, 8, 9]),
        "autoencoder: image, copy": cut_out("autoencoder_kl_cifar10"),
        "pix2pix: grey, coloured": cut_out("pix2pix_cifar10"),
    }
    strip = Image.new("RGB", (len(panels) * (SIDE + MARGIN) - MARGIN, SIDE + CAPTION), "white")
    draw, font = ImageDraw.Draw(strip), ImageFont.load_default(18)
    for i, (caption, panel) in enumerate(panels.items()):
        strip.paste(panel, (i * (SIDE + MARGIN), CAPTION))
        draw.text((i * (SIDE + MARGIN) + SIDE / 2, CAPTION / 2), caption, "black", font, anchor="mm")
    strip.save(out, optimize=True)


if __name__ == "__main__":
    main(sys.argv[1])
