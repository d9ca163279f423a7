"""Tensors in .pt and .pth files, read without what a pickle could run."""

import pickle
import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from datamodules.formats.containers import Container, Member

PAIR = (
    "images",
    "labels",
)  # what the two tensors of a pair are, as in torchvision's former MNIST/processed/training.pt


class TensorFile(Container):
    """What ``torch.save`` has written: a tensor, a pair (images, labels), or tensors by name, also in groups.

    Lists of words count as arrays, so that names of classes may stand beside them.
    """

    def headers(self) -> dict[str, Member]:
        """All tensors."""
        return {key: Member(key, array.shape, array.dtype) for key, array in self._arrays().items()}

    def array(self, member: Member) -> np.ndarray:
        """One tensor."""
        return self._arrays()[member.key]

    def _arrays(self) -> dict[str, np.ndarray]:
        found = _named(self._loaded())
        if not found:
            raise ValueError("it holds no tensors; torch.save({'images': images, 'labels': labels}, path) writes some")
        return found

    def _loaded(self) -> Any:
        """The content, with tensors left on disk where the file's format allows it."""
        try:
            mapped = zipfile.is_zipfile(self.path)
            return torch.load(self.path, map_location="cpu", weights_only=True, mmap=mapped)
        except pickle.UnpicklingError as error:
            raise ValueError(f"it holds more than tensors, lists and words, which is not unpickled: {error}") from error


def _named(content: Any, prefix: str = "") -> dict[str, np.ndarray]:
    """Tensors and lists of words by name; everything else is left out."""
    if isinstance(content, torch.Tensor):
        return {prefix.rstrip("/") or "tensor": _as_array(content)}
    if isinstance(content, list | tuple) and content and all(isinstance(word, str) for word in content):
        return {prefix.rstrip("/") or "words": np.array(content, dtype=np.str_)}
    if isinstance(content, list | tuple):
        names = PAIR if len(content) == 2 else map(str, range(len(content)))
        content = dict(zip(names, content, strict=True))
    found: dict[str, np.ndarray] = {}
    if isinstance(content, Mapping):
        for name, part in content.items():
            found |= _named(part, f"{prefix}{name}/")
    return found


def _as_array(tensor: torch.Tensor) -> np.ndarray:
    """The tensor's own memory, but of bfloat16, which NumPy doesn't have."""
    return (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).detach().numpy()
