"""How the discriminators score data and samples, as histograms."""

from typing import Any

import lightning.pytorch as L
import torch
from torch import Tensor

from lit_gen.callbacks.publish import publish_histogram
from lit_gen.modules import GAN
from lit_gen.modules.translation import TranslationModule
from lit_gen.training.randomness import mix

AT_ONCE = 64  # images in a pass of a discriminator
PATCHES = 16  # of an image, in rough numbers


class ScoreHistograms(L.Callback):
    """Draws histograms of a discriminator's raw scores at each validation of a fit; nothing for other modules.

    Of a `GAN`: ``real_scores``, of images spread evenly over the validation split (else the training split), and
    ``fake_scores``, of as many samples by the averaged weights, with the images' labels if it is conditional. Of a
    `CycleGAN`: ``real_scores_a`` and ``fake_scores_a`` of the domain a and the translations to it, and the same of b;
    of a `CUT` ``real_scores`` and ``fake_scores`` of b, of a `Pix2Pix` those of pairs: a score for each patch of a
    sixteenth as many images. All networks are in eval mode.

    They go to ``histograms/<name>.csv`` under the trainer's log directory and to every logger that takes histograms.

    Args:
        num_samples: images, and samples, at most.
        seed: of the samples' noise, the same throughout training.

    Raises:
        ValueError: for less than 2 samples.
    """

    def __init__(self, num_samples: int = 256, seed: int = 0) -> None:
        if num_samples < 2:
            raise ValueError(f"num_samples={num_samples}: a histogram needs at least 2 samples")
        self.num_samples, self.seed = num_samples, seed

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """At each validation of a fit, on the first process."""
        if trainer.sanity_checking or trainer.state.fn != "fit" or not isinstance(pl_module, (GAN, TranslationModule)):
            return
        directory = trainer.log_dir  # a collective
        if trainer.fast_dev_run or not trainer.is_global_zero:  # type: ignore[attr-defined]
            return
        for name, scores in self.scores(trainer.datamodule, pl_module).items():  # type: ignore[attr-defined]
            publish_histogram(trainer, directory, name, scores)

    @torch.no_grad()
    def scores(self, data: Any, module: GAN | TranslationModule) -> dict[str, Tensor]:
        """The scores by name; none of data that are not of `datamodules`."""
        if not hasattr(data, "dataset"):
            return {}
        if isinstance(module, TranslationModule):
            return self._of_translations(data, module)
        images, labels = _spread(data, self.num_samples, module.pack)
        images = data.to_float(images.to(module.device))
        y = labels if module.conditional else None
        generator = torch.Generator().manual_seed(mix(self.seed, "histograms"))
        samples = module.sample(len(images), y, generator, **({} if module.codec is None else {"decode": False}))
        return {"real_scores": _judged(module, images, y), "fake_scores": _judged(module, samples, y)}

    def _of_translations(self, data: Any, module: TranslationModule) -> dict[str, Tensor]:
        batch = _spread(data, max(2, self.num_samples // PATCHES), 1)
        images = {domain: data.to_float(batch[domain][0].to(module.device)).to(module.dtype) for domain in ("a", "b")}
        with module.evaluating():
            return module.scores(images["a"], images["b"])


def _spread(data: Any, count: int, multiple: int) -> Any:
    """A batch from all over the split, of a multiple of so many images."""
    dataset = data.dataset("val" if len(data.dataset("val")) >= max(2, multiple) else "train")
    count = min(max(count, multiple), len(dataset)) // multiple * multiple
    return dataset.__getitems__([i * len(dataset) // count for i in range(count)])


def _judged(module: GAN, images: Tensor, labels: Tensor | None) -> Tensor:
    """Scores ``(N/pack,)`` of images in eval mode, a part after the other."""
    size = max(1, AT_ONCE // module.pack) * module.pack
    parts = zip(images.split(size), [None] * len(images) if labels is None else labels.split(size), strict=False)
    return torch.cat([module.score(part, y) for part, y in parts])
