"""Checkpoints that are whole or absent; large ones are written while the training goes on."""

import copy
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins import TorchCheckpointIO

from lit_gen.files import whole_file
from lit_gen.pretrained.resume import LAST, PREVIOUS

GB = 1e9


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes beside the target, flushes to disk and renames: a reader never sees half a file.

    A large checkpoint is copied to the CPU's memory and written from there by a thread; the file is the same to the
    last bit. The next checkpoint waits until it is written, and so does the end of the run, however it ends.

    Args:
        background_gb: Gigabytes (10⁹ bytes) from which a checkpoint is written in the background; its copy needs as
            much memory for so long. null writes all at once.
    """

    def __init__(self, background_gb: float | None = 1.0) -> None:
        self.background_gb = background_gb
        self._pending: Future[None] | None = None

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        """Write ``checkpoint`` to ``path``; the ``last.ckpt`` that it replaces stays as ``previous.ckpt``.

        Raises:
            OSError: if it, or the one before it, can't be written, as on a full disk; the file there is as it was.
        """
        self.wait()
        if self.background_gb is None or _size(checkpoint) < self.background_gb * GB:
            _write(checkpoint, Path(path))
            return
        executor = ThreadPoolExecutor(1, "checkpoint")
        self._pending = executor.submit(_write, _snapshot(checkpoint), Path(path))
        executor.shutdown(wait=False)

    def wait(self) -> None:
        """Until what is being written is on the disk.

        Raises:
            OSError: if it can't be written.
        """
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.result()

    def load_checkpoint(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Read a checkpoint, which may be the one being written."""
        self.wait()
        return super().load_checkpoint(*args, **kwargs)

    def remove_checkpoint(self, path: Any) -> None:
        """Remove a checkpoint, which may be the one being written."""
        self.wait()
        super().remove_checkpoint(path)

    def teardown(self) -> None:
        """Come to the end of the run."""
        self.wait()


def _write(checkpoint: dict[str, Any], path: Path) -> None:
    try:
        with whole_file(path, path.with_name(PREVIOUS) if path.name == LAST else None) as file:
            torch.save(checkpoint, file)
    except (OSError, RuntimeError) as error:  # torch turns a failed write into a RuntimeError
        cause = error if isinstance(error, OSError) else error.__context__ or error
        reason = getattr(cause, "strerror", None) or str(cause).splitlines()[0]
        held = f"; the checkpoint before it, {path}, is whole" if path.exists() else ""
        raise OSError(f"{path}: this checkpoint can't be written: {reason}{held}") from error


def _snapshot(checkpoint: dict[str, Any]) -> dict[str, Any]:
    """A copy in the CPU's memory, which later steps leave alone."""
    on_devices = (tensor for tensor in _tensors(checkpoint) if tensor.device.type != "cpu")
    return copy.deepcopy(checkpoint, {id(tensor): tensor.cpu() for tensor in on_devices})


def _size(checkpoint: dict[str, Any]) -> int:
    """Bytes of its tensors."""
    storages = {tensor.untyped_storage().data_ptr(): tensor for tensor in _tensors(checkpoint)}
    return sum(tensor.untyped_storage().nbytes() for tensor in storages.values())


def _tensors(tree: Any) -> Iterator[torch.Tensor]:
    if isinstance(tree, torch.Tensor):
        yield tree
    elif isinstance(tree, dict):
        for value in tree.values():
            yield from _tensors(value)
    elif isinstance(tree, (list, tuple)):
        for value in tree:
            yield from _tensors(value)
