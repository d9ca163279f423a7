"""What all scores need of a set of images, collected while an extractor sees each image once."""

import copy
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities.distributed import gather_all_tensors

from lit_gen.metrics.classes import ClassCoverage
from lit_gen.metrics.inception import InceptionScore
from lit_gen.metrics.kernel import kernel_within
from lit_gen.metrics.moments import FeatureMoments, Moments, check_features

NO_LABEL = -1


class Features:
    """A set of images as scores see it.

    Args:
        moments: of all images' features.
        rows: features ``(m, D)`` of the images kept, ordered by position; none from another program's statistics.
        index: their positions ``(m,)`` among all images.
        labels: their classes ``(m,)``, −1 for images without.
        classes: sums over all images of what a classifier says; None if the extractor is none.
        inception: the same for the Inception score.
        class_names: of the labels 0 to K − 1, where they are known.
        protocol: what a file of statistics said of itself.
    """

    def __init__(
        self,
        moments: Moments,
        rows: Tensor,
        index: Tensor,
        labels: Tensor,
        classes: dict[str, float] | None = None,
        inception: dict[str, float] | None = None,
        class_names: Sequence[str] = (),
        protocol: dict[str, Any] | None = None,
    ) -> None:
        self.moments, self.rows, self.index, self.labels = moments, rows, index, labels
        self.classes, self.inception = classes, inception
        self.class_names, self.protocol = tuple(class_names), protocol

    def to(self, device: torch.device | str) -> "Features":
        """The same with features and moments on a device; itself if they are there."""
        moments = self.moments.to(device)
        if moments is self.moments:
            return self
        moved = copy.copy(self)
        moved.__dict__.pop("kernel_within", None)
        moved.moments, moved.rows = moments, self.rows.to(device)
        return moved

    def relabelled(self, numbers: Tensor, class_names: Sequence[str]) -> "Features":
        """The same with ``numbers[i]`` in place of label i, a place in the list ``class_names``."""
        renamed = copy.copy(self)
        if len(numbers) == 0:
            return renamed
        renamed.labels = torch.where(self.labels == NO_LABEL, NO_LABEL, numbers[self.labels.clamp(min=0)])
        renamed.class_names = tuple(class_names)
        return renamed

    @cached_property
    def kernel_within(self) -> float:
        """The kernel distance's part that these images alone decide: of the real ones, computed once."""
        return kernel_within(self.rows, self.scatter)

    @property
    def scatter(self) -> Tensor | None:
        """Σ (x − μ)(x − μ)ᵀ of the rows kept, where they are all rows and more than D, as for a covariance."""
        count, (kept, dim) = self.moments.count, self.rows.shape
        return self.moments.covariance * (count - 1) if count == kept > dim and self.moments.has_covariance else None

    @property
    def labelled(self) -> bool:
        """Whether every image kept has a class."""
        return len(self.labels) > 0 and bool((self.labels != NO_LABEL).all())


class Reservoir(Metric):
    """At most `capacity` rows, those of the smallest hash of (seed, position): the same whatever the order of updates.

    Which rows are kept depends neither on batches nor on the number of processes, and they are a uniform sample.

    Args:
        num_features: D.
        capacity: rows kept, at least 1.
        seed: of the choice.
        **kwargs: of ``torchmetrics.Metric``.
    """

    full_state_update = False
    rows: list[Tensor]
    index: list[Tensor]
    labels: list[Tensor]

    def __init__(self, num_features: int, capacity: int, seed: int = 0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if capacity < 1:
            raise ValueError(f"capacity={capacity}: at least 1 row")
        self.num_features, self.capacity, self.seed = num_features, capacity, seed
        self.add_state("rows", [], dist_reduce_fx="cat")
        self.add_state("index", [], dist_reduce_fx="cat")
        self.add_state("labels", [], dist_reduce_fx="cat")

    def update(self, features: Tensor, index: Tensor, labels: Tensor | None = None) -> None:
        """Offer rows ``(N, D)`` of the images at positions ``index`` ``(N,)``, each given once over all processes."""
        index = index.to("cpu", torch.int64)
        if labels is None:
            labels = torch.full_like(index, NO_LABEL)
        self.rows.append(features.detach().to(self.device, torch.float32, copy=True))
        self.index.append(index)
        self.labels.append(labels.to("cpu", torch.int64))
        if sum(map(len, self.index)) > 2 * self.capacity:
            self._keep(*self._joined())

    def compute(self) -> tuple[Tensor, Tensor, Tensor]:
        """Rows, positions and labels kept, by position (a collective)."""
        rows, index, labels = self._keep(*self._joined())
        order = index.argsort()
        return rows[order.to(rows.device)], index[order], labels[order]

    def _joined(self) -> tuple[Tensor, Tensor, Tensor]:
        none = torch.zeros(0, dtype=torch.int64)
        rows = torch.cat([torch.zeros(0, self.num_features, device=self.device), *self.rows])
        return rows, torch.cat([none, *self.index]), torch.cat([none, *self.labels])

    def _keep(self, rows: Tensor, index: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        order = priority(index, self.seed).argsort()
        index = index[order]
        if (twice := index[1:][index[1:] == index[:-1]]).numel():  # equal positions have equal hashes
            raise ValueError(f"index: position {int(twice[0])} was given twice, so its image would count twice")
        kept = order[: self.capacity]
        rows, index, labels = rows[kept.to(rows.device)], index[: self.capacity], labels[kept]
        self.rows, self.index, self.labels = [rows], [index], [labels]
        return rows, index, labels

    def _sync_dist(self, dist_sync_fn: Any = gather_all_tensors, process_group: Any | None = None) -> None:
        """Each process sends its at most `capacity` rows."""
        group = process_group or self.process_group
        rows, index, labels = self._keep(*self._joined())
        numbers = torch.stack([index, labels], 1).to(self.device)
        gathered = torch.cat([part.cpu() for part in dist_sync_fn(numbers, group)])
        self.rows, self.index, self.labels = dist_sync_fn(rows, group), [gathered[:, 0]], [gathered[:, 1]]


class FeatureBank(Metric):
    """Streaming moments, a bounded sample of feature rows and a classifier's sums: all scores from one feature pass.

    Any batching and any number of processes, with shards of any sizes, give the same `Features` to rounding; memory is
    bounded by D² + `capacity` · D numbers. Each image is named by its position, so that none counts twice.

    Args:
        num_features: D.
        num_classes: of the extractor's class scores; None if it gives none.
        capacity: rows kept for the scores that compare images one by one.
        seed: of the choice of rows.
        known_classes: labels are the classifier's own classes, so that it can say which share is right.
        **kwargs: of ``torchmetrics.Metric``.

    Example:
        >>> bank = FeatureBank(num_features=2)
        >>> bank.update(torch.tensor([[0.0, 1.0], [2.0, 3.0]]), index=torch.arange(2))
        >>> bank.compute().moments.mean.tolist()
        [1.0, 2.0]
    """

    full_state_update = False

    def __init__(
        self,
        num_features: int,
        num_classes: int | None = None,
        capacity: int = 10_000,
        seed: int = 0,
        known_classes: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.known_classes = known_classes
        self.moments = FeatureMoments(num_features, **kwargs)
        self.reservoir = Reservoir(num_features, capacity, seed, **kwargs)
        self.classes = ClassCoverage(num_classes, **kwargs) if num_classes else None
        self.inception = InceptionScore(num_classes, **kwargs) if num_classes else None

    def update(
        self, features: Tensor, index: Tensor, logits: Tensor | None = None, labels: Tensor | None = None
    ) -> None:
        """Add images.

        Args:
            features: ``(N, D)``.
            index: positions ``(N,)`` of the images in the whole set, each given once over all processes.
            logits: class scores ``(N, num_classes)`` where the extractor gives them.
            labels: the images' classes ``(N,)`` if they have any.

        Raises:
            ValueError: other shapes.
            NotFiniteError: a feature or class score that is NaN or infinite.
        """
        check_features(features, self.moments.num_features)
        if self.classes is not None and logits is not None:
            check_features(logits, self.classes.num_classes, "logits")
        for name, values in {"index": index, "logits": logits, "labels": labels}.items():
            if values is not None and len(values) != len(features):
                raise ValueError(f"{name} of {len(values)} entries for {len(features)} rows of features")
        self.moments.update(features)
        self.reservoir.update(features, index, labels)
        if self.classes is not None and self.inception is not None and logits is not None:
            self.classes.update(logits, labels if self.known_classes else None)
            self.inception.update(logits, index)

    def compute(self) -> Features:
        """What all processes collected (a collective: call it on every process)."""
        moments, (rows, index, labels) = self.moments.compute(), self.reservoir.compute()
        # torchmetrics makes scalars of tensors of one entry.
        sample = rows.reshape(-1, self.moments.num_features), index.reshape(-1), labels.reshape(-1)
        if self.classes is None or self.inception is None:
            return Features(moments, *sample)
        enough = self.inception.splits <= moments.count
        return Features(moments, *sample, self.classes.compute(), self.inception.compute() if enough else None)

    def reset(self) -> None:
        """Forget all images."""
        super().reset()
        for part in self.children():
            if isinstance(part, Metric):
                part.reset()


def priority(index: Tensor, seed: int) -> Tensor:
    """A hash of each position ``(N,)``, different for different positions (SplitMix64; Steele et al. 2014)."""
    state = index.numpy().astype(np.uint64) + np.uint64((seed * 0x9E3779B97F4A7C15 + 0x9E3779B97F4A7C15) % 2**64)
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return torch.from_numpy((state ^ (state >> np.uint64(31))).view(np.int64))
