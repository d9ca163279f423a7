"""Scores and pictures of translations between two domains."""

from typing import Any

import lightning.pytorch as L
import torch
from torch import Tensor
from torchmetrics import MeanMetric, Metric, SumMetric

from lit_gen.callbacks.held_out_scores import HeldOutScores
from lit_gen.callbacks.samples import SampleGrid
from lit_gen.metrics import SHIPPED, Extractor, FeatureMoments, frechet_distance, load_extractor
from lit_gen.pictures import image_grid

OTHER = {"a": "b", "b": "a"}


class EvaluateTranslation(HeldOutScores):
    """Scores a `CycleGAN` on all held-out images and logs, for a split ``val`` or ``test``,

    - ``<split>/cycle_error_a``, ``_b``: mean |F(G(a)) − a| and |G(F(b)) − b|,
    - ``<split>/identity_error_a``, ``_b``: mean |F(a) − a| and |G(b) − b|,
    - ``<split>/true_error_ab``, ``_ba``: mean |G(a) − b| and |F(b) − a|, where the data module says that the split
      holds counterparts (``paired``), and beside them ``<split>/identity_map_error``: mean |a − b|,
    - ``<split>/fd_<extractor>_<n>_ab``, ``_ba``: Fréchet distance of the n translated images to the real ones of the
      domain they are translated to.

    Errors are means over images and their pixels, whose values are in [-1, 1]; lower is better everywhere. The
    translations are float32, neither rounded nor resized, by averaged networks if averages are kept.

    Args:
        extractor: ``auto`` takes the one shipped for the data, if any, also where both domains are classes of
            them; ``identity`` the pixels themselves, for small images; else a shipped name or a ``.safetensors`` file;
            null for no Fréchet distance.
    """

    _method = "translate"
    _refusal = "doesn't translate, CycleGAN does"

    def _choose(self, extractor: str, data: Any) -> Extractor | None:
        """Also the one shipped for data of which both domains are parts."""
        names = {getattr(data, domain).name if hasattr(data, domain) else data.name for domain in OTHER}
        if extractor != "auto":
            return super()._choose(extractor, data)
        if len(names) == 1 and (name := names.pop()) in SHIPPED:
            network = load_extractor(name)
            return network if network.image_shape == tuple(data.image_shape) else None
        return None

    def _new_metrics(self, trainer: L.Trainer, module: Any) -> dict[str, Metric]:
        """One for each error, and the number of images and moments of features of each domain."""
        names = [f"{error}_error_{domain}" for error in ("cycle", "identity") for domain in OTHER]
        if getattr(trainer.datamodule, "paired", False):  # type: ignore[attr-defined]
            names += ["true_error_ab", "true_error_ba", "identity_map_error"]
        found: dict[str, Metric] = {name: MeanMetric(nan_strategy="ignore") for name in names}
        for domain in OTHER:
            found[f"count_{domain}"] = SumMetric()
            if self._network is not None:
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
        translate: Any = pl_module.translate
        for domain, other in OTHER.items():
            images = batch[domain][0]
            if len(images) == 0:
                continue
            fake = translate(images, to=other)
            self._add_error(f"cycle_error_{domain}", translate(fake, to=domain), images)
            self._add_error(f"identity_error_{domain}", translate(images, to=domain), images)
            if f"true_error_{domain}{other}" in self._metrics:
                self._add_error(f"true_error_{domain}{other}", fake, batch[other][0])
            self._metrics[f"count_{domain}"].update(len(images))
            if self._network is not None:
                network = self._network.to(pl_module.device)
                self._metrics[f"real_{domain}"].update(network.extract(images)[0])
                self._metrics[f"fake_{other}"].update(network.extract(fake)[0])
        if "identity_map_error" in self._metrics:
            self._add_error("identity_map_error", batch["a"][0], batch["b"][0])

    on_test_batch_end = on_validation_batch_end

    def _add_error(self, name: str, images: Tensor, target: Tensor) -> None:
        errors = (images.float() - target.float()).abs().flatten(1).mean(1)
        self._metrics[name].update(errors)

    def _scores(self) -> dict[str, float]:
        """Errors of domains that have images, and distances where both have two."""
        counts = {domain: int(self._metrics[f"count_{domain}"].compute()) for domain in OTHER}
        scores: dict[str, float] = {}
        for name, metric in self._metrics.items():
            if isinstance(metric, MeanMetric) and counts[name[-1] if name[-2] == "_" else "a"]:
                scores[name] = float(metric.compute())
        if self._network is not None and min(counts.values()) >= 2:
            for domain, other in OTHER.items():
                fake, real = (self._moments(f"{kind}_{other}") for kind in ("fake", "real"))
                distance = frechet_distance(fake.mean, fake.covariance, real.mean, real.covariance)
                scores[f"fd_{self._network.name}_{counts[domain]}_{domain}{other}"] = float(distance)
        return scores


class TranslationGrid(SampleGrid):
    """Draws translations at the start, at every n-th validation and at the end of ``fit``.

    The upper rows are images of a, their translations to b, with the true counterparts below them where the data
    module knows them, and the translations back to a; the lower rows likewise from b. The pictures go to
    ``translations/step_<step>.png`` under the trainer's log directory, and to every logger that takes images.

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
        for domain, other in OTHER.items():
            fake = translate(images[domain], to=other)
            truth = [images[other]] if data.paired and len(data.dataset("val")) else []
            rows += [images[domain], fake, *truth, translate(fake, to=domain)]
        return image_grid(torch.cat(rows), columns=count)
