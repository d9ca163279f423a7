"""Scores and pictures of translations between two domains."""

from typing import Any

import lightning.pytorch as L
import torch
from torch import Tensor
from torchmetrics import MeanMetric, Metric, SumMetric
from torchmetrics.image import PeakSignalNoiseRatio

from lit_gen.callbacks.held_out_scores import HeldOutScores
from lit_gen.callbacks.reconstruction import LEVELS, levels
from lit_gen.callbacks.samples import SampleGrid
from lit_gen.metrics import SHIPPED, Extractor, FeatureMoments, frechet_distance, load_extractor
from lit_gen.pictures import image_grid

OTHER = {"a": "b", "b": "a"}


class EvaluateTranslation(HeldOutScores):
    """Scores a model that translates on all held-out images and logs, for a split ``val`` or ``test``,

    - ``<split>/cycle_error_a``, ``_b``: mean |F(G(a)) − a| and |G(F(b)) − b|, of a model with a way back,
    - ``<split>/identity_error_a``, ``_b``: mean |F(a) − a| and |G(b) − b|,
    - ``<split>/true_error_ab``, ``_ba``: mean |G(a) − b| and |F(b) − a|, where the data module says that the split
      holds counterparts (``paired``), with ``<split>/psnr_8bit_db_ab``, ``_ba``: 10 log10(255² / E (G(a) − b)²) on 256
      levels, and ``<split>/identity_map_error``: mean |a − b|,
    - ``<split>/fd_<extractor>_<n>_ab``, ``_ba``: Fréchet distance of the n translated images to the real ones of the
      domain they are translated to.

    Errors are means over images and their pixels, whose values are in [-1, 1]; lower is better everywhere. The
    translations are float32, neither rounded, but for PSNR, nor resized, by averaged networks if averages are kept.
    What F would be needed for is left out where there is none, and what compares images of a with images of b where
    these have other channels.

    Args:
        extractor: ``auto`` takes the one shipped for the data, if any, also where both domains are classes of
            them; ``identity`` the pixels themselves, for small images; else a shipped name or a ``.safetensors`` file;
            null for no Fréchet distance.
    """

    _method = "translate"
    _refusal = "doesn't translate, Pix2Pix, CycleGAN and CUT do"

    def _choose(self, extractor: str, data: Any) -> Extractor | None:
        """Also the one shipped for data of which both domains are parts, or of the images to be translated to."""
        if tuple(getattr(data, "target_shape", data.image_shape)) != tuple(data.image_shape):
            data = Targets(data)
        names = {getattr(getattr(data, domain, None), "name", data.name) for domain in OTHER}
        if extractor != "auto":
            return super()._choose(extractor, data)
        if len(names) == 1 and (name := names.pop()) in SHIPPED:
            network = load_extractor(name)
            return network if network.image_shape == tuple(data.image_shape) else None
        return None

    def _new_metrics(self, trainer: L.Trainer, module: Any) -> dict[str, Metric]:
        """One for each error, and the number of images and moments of features of each domain."""
        ways = module.translates_to
        alike = module.target_shape == module.image_shape
        names = [f"cycle_error_{domain}" for domain in OTHER if len(ways) == 2]
        names += [f"identity_error_{domain}" for domain in OTHER if domain in ways and alike]
        found: dict[str, Metric] = {}
        if getattr(trainer.datamodule, "paired", False):  # type: ignore[attr-defined]
            names += [f"true_error_{OTHER[domain]}{domain}" for domain in ways]
            names += ["identity_map_error"] if alike else []
            psnr = [PeakSignalNoiseRatio(data_range=LEVELS).set_dtype(torch.float64) for _ in ways]
            found |= {f"psnr_8bit_db_{OTHER[d]}{d}": metric for d, metric in zip(ways, psnr, strict=True)}
        found |= {name: MeanMetric(nan_strategy="ignore") for name in names}
        for domain in OTHER:
            found[f"count_{domain}"] = SumMetric()
            if self._network is not None and domain in ways:
                found |= {f"{kind}_{domain}": FeatureMoments(self._network.num_features) for kind in ("real", "fake")}
        return found

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
        """Translate the batch in all directions."""
        for domain, other in OTHER.items():
            if len(batch[domain][0]) == 0:
                continue
            self._metrics[f"count_{domain}"].update(len(batch[domain][0]))
            if other in pl_module.translates_to:  # type: ignore[operator]
                self._score(pl_module, domain, other, batch)
            if domain in pl_module.translates_to:  # type: ignore[operator]
                self._score_real(pl_module, domain, batch[domain][0])
        if "identity_map_error" in self._metrics:
            self._add_error("identity_map_error", batch["a"][0], batch["b"][0])

    def _score(self, module: Any, domain: str, other: str, batch: Any) -> None:
        """Translations of a domain's images to the other one."""
        images = batch[domain][0]
        fake = module.translate(images, to=other)
        if f"cycle_error_{domain}" in self._metrics:
            self._add_error(f"cycle_error_{domain}", module.translate(fake, to=domain), images)
        if f"true_error_{domain}{other}" in self._metrics:
            self._add_error(f"true_error_{domain}{other}", fake, batch[other][0])
            psnr = self._metrics[f"psnr_8bit_db_{domain}{other}"]
            psnr.update(*(levels(x, psnr.device) for x in (fake, batch[other][0])))
        if self._network is not None:
            self._metrics[f"fake_{other}"].update(self._network.to(module.device).extract(fake)[0])

    def _score_real(self, module: Any, domain: str, images: Tensor) -> None:
        """Images of a domain that can be translated to."""
        if f"identity_error_{domain}" in self._metrics:
            self._add_error(f"identity_error_{domain}", module.translate(images, to=domain), images)
        if self._network is not None:
            self._metrics[f"real_{domain}"].update(self._network.to(module.device).extract(images)[0])

    on_test_batch_end = on_validation_batch_end

    def _add_error(self, name: str, images: Tensor, target: Tensor) -> None:
        errors = (images.float() - target.float()).abs().flatten(1).mean(1)
        self._metrics[name].update(errors)

    def _scores(self) -> dict[str, float]:
        """Errors of domains that have images, and distances where both have two."""
        counts = {domain: int(self._metrics[f"count_{domain}"].compute()) for domain in OTHER}
        scores: dict[str, float] = {}
        for name, metric in self._metrics.items():
            measured = isinstance(metric, (MeanMetric, PeakSignalNoiseRatio))
            if measured and counts[name[-1] if name[-2] == "_" else "a"]:
                scores[name] = float(metric.compute())
        if self._network is not None and min(counts.values()) >= 2:
            for domain, other in OTHER.items():
                if f"fake_{other}" not in self._metrics:
                    continue
                fake, real = (self._moments(f"{kind}_{other}") for kind in ("fake", "real"))
                distance = frechet_distance(fake.mean, fake.covariance, real.mean, real.covariance)
                scores[f"fd_{self._network.name}_{counts[domain]}_{domain}{other}"] = float(distance)
        return scores


class Targets:
    """A data module's images of domain b, as an extractor is chosen for them."""

    def __init__(self, data: Any) -> None:
        whole = getattr(data, "images", data)
        self.name, self.image_shape = whole.name, data.target_shape


class TranslationGrid(SampleGrid):
    """Draws translations at the start, at every n-th validation and at the end of ``fit``.

    The upper rows are images of a, their translations to b, with the true counterparts below them where the data
    module knows them, and the translations back to a; the lower rows likewise from b, of a model with that way. The
    pictures go to ``translations/step_<step>.png`` under the trainer's log directory, and to every logger that takes
    images.

    Args:
        num_samples: images of each domain, side by side: the first ones of the validation split, or of the training
            split if there is none.
        every_n_epochs: draw at every n-th validation.
    """

    folder = "translations"

    def __init__(self, num_samples: int = 10, every_n_epochs: int = 1) -> None:
        super().__init__(num_samples, every_n_epochs)

    def picture(self, trainer: L.Trainer, pl_module: L.LightningModule) -> Tensor | None:
        """The rows of images, uint8 ``(C, H, W)``; None for points and for images of 2 or more than 3 channels."""
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        translate: Any = getattr(pl_module, "translate", None)
        shape: Any = pl_module.image_shape
        if translate is None or not hasattr(data, "to_float") or len(shape) != 3 or shape[0] not in (1, 3):
            return None
        dataset = data.dataset("val" if len(data.dataset("val")) else "train")
        count = min(self.num_samples, len(dataset.a), len(dataset.b))
        if count == 0:
            return None
        batch = dataset.__getitems__(list(range(count)))
        images = {domain: data.to_float(batch[domain][0]).to(pl_module.device) for domain in OTHER}
        rows = []
        ways: Any = pl_module.translates_to
        channels = max(len(x[0]) for x in images.values())
        for domain, other in ((domain, other) for domain, other in OTHER.items() if other in ways):
            fake = translate(images[domain], to=other)
            truth = [images[other]] if data.paired and len(data.dataset("val")) else []
            back = [translate(fake, to=domain)] if domain in ways else []
            rows += [images[domain], fake, *truth, *back]
        return image_grid(torch.cat([row.expand(-1, channels, -1, -1) for row in rows]), columns=count)
