"""Scores and pictures of an autoencoder's reconstructions."""

from typing import Any

import lightning.pytorch as L
import torch
from torch import Tensor
from torchmetrics import Metric, SumMetric
from torchmetrics.image import PeakSignalNoiseRatio, StructuralSimilarityIndexMeasure

from lit_gen.callbacks.held_out_scores import HeldOutScores
from lit_gen.callbacks.samples import SampleGrid
from lit_gen.metrics import CodeUsage, FeatureMoments, frechet_of_moments, to_signed
from lit_gen.metrics.passes import as_extractor_takes
from lit_gen.metrics.scores import protocol_name
from lit_gen.pictures import paired_grid

SMALLEST = 6  # side of images that SSIM's window of 11 pixels can be continued beyond
LEVELS = 255.0


class EvaluateReconstruction(HeldOutScores):
    """Scores an autoencoder's reconstructions of all held-out images and logs, for a split ``val`` or ``test``,

    - ``<split>/psnr_8bit_db``: 10 log10(255² / E (x − x̂)²) on 256 levels, the mean over all values of all images;
    - ``<split>/ssim_8bit``: structural similarity on 256 levels, Gaussian window of 11 pixels with σ = 1.5, borders
      reflected, a mean over images; for sides of 6 pixels or more;
    - ``<split>/rfd_<extractor>_<n>``: Fréchet distance of the reconstructions of the n images to the images
      themselves; ``rfid`` for the published Inception features;
    - ``<split>/codes_used``, ``<split>/perplexity``: of a quantised one's codes, see ``lit_gen.metrics.CodeUsage``.

    Images and reconstructions are rounded to the 256 levels of a file, and come from averaged networks if averages are
    kept. Small rfd are no sign of good generation: it is bounded by what the codes can say, not by what one can draw.

    Args:
        extractor: ``auto`` takes the one shipped for the data, if any; else as ``lit_gen.callbacks.Evaluate`` takes it;
            null for no Fréchet distance.
    """

    _method = "reconstruct"
    _refusal = "has no reconstruct(images)"

    def _new_metrics(self, trainer: L.Trainer, module: Any) -> dict[str, Metric]:
        """One for each score, and the number of images."""
        found: dict[str, Metric] = {"images": SumMetric(), "psnr_8bit_db": PeakSignalNoiseRatio(data_range=LEVELS)}
        if min(module.image_shape[1:]) >= SMALLEST:
            found["ssim_8bit"] = StructuralSimilarityIndexMeasure(data_range=LEVELS)
        if (codes := getattr(getattr(module, "bottleneck", None), "codes", None)) is not None:
            found["codes"] = CodeUsage(codes)
        if self._network is not None:
            found |= {side: FeatureMoments(self._network.num_features) for side in ("real", "made")}
        return {name: metric.set_dtype(torch.float64) for name, metric in found.items()}

    @torch.no_grad()
    def on_validation_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Reconstruct the batch."""
        images, module = batch[0], pl_module
        if len(images) == 0:
            return
        if "codes" in self._metrics:
            indices = module.indices(images)  # type: ignore[operator]
            self._metrics["codes"].update(indices.to(self._metrics["codes"].device))
            made = module.decode_indices(indices)  # type: ignore[operator]
        else:
            made = module.reconstruct(images)  # type: ignore[operator]
        self._metrics["images"].update(len(images))
        for name in ("psnr_8bit_db", "ssim_8bit"):
            if name in self._metrics:
                self._metrics[name].update(*(levels(x, self._metrics[name].device) for x in (made, images)))
        if self._network is not None:
            network = self._network.to(pl_module.device)
            for side, x in {"real": images, "made": made}.items():
                self._metrics[side].update(network.extract(as_extractor_takes(x, network))[0])

    on_test_batch_end = on_validation_batch_end

    def _scores(self) -> dict[str, float]:
        """Those that there are, none without images."""
        count = int(self._metrics["images"].compute())
        if count == 0:
            return {}
        named = ("psnr_8bit_db", "ssim_8bit")
        scores = {name: float(self._metrics[name].compute()) for name in named if name in self._metrics}
        if "codes" in self._metrics:
            usage: Any = self._metrics["codes"].compute()
            scores |= usage
        if self._network is not None and count >= 2:
            name = protocol_name("fd", self._network.name, count, self._network.frechet)
            scores[f"r{name}"] = float(frechet_of_moments(self._moments("made"), self._moments("real")))
        return scores


class ReconstructionGrid(SampleGrid):
    """Draws images above their reconstructions at the start, at every n-th validation and at the end of ``fit``.

    The pictures go to ``reconstructions/step_<step>.png`` under the trainer's log directory, and to every logger that
    takes images.

    Args:
        num_samples: images: the first ones of the validation split, or of the training split if there is none.
        every_n_epochs: draw at every n-th validation.
    """

    folder = "reconstructions"

    def __init__(self, num_samples: int = 32, every_n_epochs: int = 1) -> None:
        super().__init__(num_samples, every_n_epochs)

    def picture(self, trainer: L.Trainer, pl_module: L.LightningModule) -> Tensor | None:
        """The rows of images, uint8 ``(C, H, W)``; None where they can't be drawn or there are none."""
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        shape: Any = pl_module.image_shape
        if not hasattr(data, "to_float") or not hasattr(pl_module, "reconstruct") or shape[0] not in (1, 3):
            return None
        dataset = data.dataset("val" if len(data.dataset("val")) else "train")
        indices = list(range(min(self.num_samples, len(dataset))))
        if not indices:
            return None
        images = data.to_float(dataset.__getitems__(indices)[0].to(pl_module.device))
        return paired_grid(images, pl_module.reconstruct(images))  # type: ignore[operator]


def levels(images: Tensor, device: torch.device) -> Tensor:
    """0 to 255, float64."""
    return ((to_signed(images.float(), "signed") + 1) * (LEVELS / 2)).to(device).double().round()
