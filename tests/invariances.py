"""What holds of every option of every training procedure, whatever it computes.

One process = several on the same batch, the whole batch = its parts, a resumed run = the uninterrupted one, and an
update that is left out changes nothing.
"""

import copy
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning.pytorch as L
import torch
from process_group import in_group

from datamodules import DigitsDataModule
from lit_gen.callbacks import FaultPolicy

STEPS = 20


def assert_invariant(
    make: Callable[..., Any],
    parts: dict[str, int],
    assert_same: Callable[..., None],
    tmp_path: Path,
    data: Callable[..., Any] = DigitsDataModule,
    spoil: Callable[[Any, Any], None] = lambda module, batch: batch[0].fill_(float("nan")),
):
    """Check the four invariances of the module that ``make(**options)`` builds, a function of an importable module.

    Args:
        make: Takes the options that are named in ``parts``.
        parts: Options by which a batch is taken in parts.
        assert_same: The fixture of that name.
        tmp_path: The fixture of that name.
        data: Makes what it is trained on from ``batch_size``, a class of an importable module.
        spoil: Makes the module's update with a batch one that is to be left out.
    """
    start, whole = held(seeded(make)), trained(make, data=data)
    still = [k for k, v in whole["weights"].items() if v.is_floating_point() and torch.equal(v, start["weights"][k])]
    assert not still, f"nothing of {still} has moved, so nothing of it is checked"
    for other in (*in_group(2, trained, make, None, 2, data), trained(make, parts, data=data)):
        assert_same(whole, other, tolerance=1e-6)  # to rounding, after 20 steps
    assert_resumes(make, assert_same, tmp_path, data)
    assert_skips(make, assert_same, data, spoil)


def assert_resumes(
    make: Callable[..., Any], assert_same: Callable[..., None], folder: Path, data: Callable[..., Any]
) -> None:
    """Bit for bit, from the middle of an epoch."""
    path, uninterrupted, resumed = folder / "middle.ckpt", seeded(make), seeded(make)

    class Save(L.Callback):
        def on_train_batch_end(self, trainer, *_):
            if trainer.global_step == STEPS // 2:
                trainer.save_checkpoint(path)

    fit(uninterrupted, callbacks=[Save()], data=data)
    fit(resumed, ckpt_path=path, data=data)
    assert_same(held(uninterrupted), held(resumed))


def assert_skips(
    make: Callable[..., Any],
    assert_same: Callable[..., None],
    data: Callable[..., Any],
    spoil: Callable[[Any, Any], None],
) -> None:
    """A batch that is not a number leaves everything but the counter of such updates as it was."""
    module, seen = seeded(make), {}

    class Break(L.Callback):
        def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
            if trainer.global_step == 3:
                seen["before"] = copy.deepcopy(held(pl_module))
                spoil(pl_module, batch)

        def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
            if trainer.global_step == 4:
                seen["after"] = copy.deepcopy(held(pl_module))

    fit(module, callbacks=[Break(), FaultPolicy("skip")], max_steps=4, data=data)
    left_out = set(module.faults.skipped)
    assert left_out, "no update was left out"
    for name in left_out:
        assert module.updates[name] == 3
    assert_same(of_players(module, seen["before"], left_out), of_players(module, seen["after"], left_out))


def of_players(module: Any, state: dict[str, Any], names: set[str]) -> dict[str, Any]:
    """The part of the state that updates of these players may change: all, or their networks and memories."""
    if names == set(module.updates):
        return state
    networks = [network for player in module._players if player.name in names for network in player.networks]
    kept = (*(f"{network}." for network in networks), "memories.")
    return {"weights": {key: value for key, value in state["weights"].items() if key.startswith(kept)}}


def trained(
    make: Callable[..., Any],
    options: dict[str, Any] | None = None,
    devices: int = 1,
    data: Callable[..., Any] = DigitsDataModule,
) -> dict[str, Any]:
    """What a module holds after 20 steps in float64, where rounding errors don't become steps of Adam."""
    module = seeded(make, options)
    fit(module, devices=devices, precision="64-true", data=data)
    return held(module)


def seeded(make: Callable[..., Any], options: dict[str, Any] | None = None) -> Any:
    torch.manual_seed(0)
    return make(**(options or {}))


def held(module: Any) -> dict[str, Any]:
    """Weights, averages and memories, and the counters."""
    counters = {"updates": dict(module.updates), "images_seen": module.images_seen}
    return {"weights": {key: value.clone() for key, value in module.state_dict().items()}, "counters": counters}


def fit(
    module: Any,
    ckpt_path: Path | None = None,
    max_steps: int = STEPS,
    data: Callable[..., Any] = DigitsDataModule,
    **options: Any,
) -> None:
    """Train on digits, 32 images a step over all processes."""
    warnings.simplefilter("ignore")
    options = {"devices": 1, **options}
    trainer = L.Trainer(
        accelerator="cpu", max_steps=max_steps, max_epochs=-1, limit_val_batches=0, logger=False,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False, **options,
    )  # fmt: skip
    L.seed_everything(3, verbose=False)
    trainer.fit(module, datamodule=data(batch_size=32), ckpt_path=ckpt_path, weights_only=True)
