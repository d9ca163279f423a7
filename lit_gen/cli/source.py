"""What ``--ckpt_path`` stands for: the run that goes on or is measured, as the configuration below the user's own."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from torch import Tensor

from lit_gen.pretrained.building import describe_checkpoint, describe_folder, load_weights
from lit_gen.pretrained.codec import take_codec
from lit_gen.pretrained.fit import Misfit, check_fit, compare
from lit_gen.pretrained.names import take_class_names
from lit_gen.pretrained.shipped import configs_folder, list_pretrained
from lit_gen.pretrained.stored import OF_DATA, checkpoint_config, locate, read_tensors
from lit_gen.pretrained.trust import is_cache

# What of the trainer's arguments makes a run what it is. The others are the machine's, or this sitting's.
TRAINER = (
    "precision", "max_steps", "max_epochs", "min_steps", "min_epochs", "limit_train_batches", "limit_val_batches",
    "overfit_batches", "val_check_interval", "check_val_every_n_epoch", "num_sanity_val_steps", "log_every_n_steps",
    "deterministic", "sync_batchnorm", "reload_dataloaders_every_n_epochs", "callbacks",
)  # fmt: skip
MEASURING = ("precision", "callbacks")  # of these, what matters to other commands than fit
CALLBACKS = ("checkpoint", "samples", "evaluate", "speed", "faults")
LIMITS = ("max_steps", "max_epochs", "min_steps", "min_epochs")  # changed whenever a run goes on


@dataclass(frozen=True)
class Source:
    """A checkpoint, or a folder of weights alone.

    Attributes:
        path: The file or folder.
        stored: Of :func:`lit_gen.pretrained.stored.checkpoint_config`.
        trusted: Packages whose classes it may name.
    """

    path: Path
    stored: dict[str, Any] = field(repr=False)
    trusted: tuple[str, ...] = ()

    @classmethod
    def find(cls, given: str, command: str, trusted: Sequence[str] = ()) -> "Source":
        """What a path, a shipped name or a repository of the Hub means.

        Raises:
            FileNotFoundError: if there is no such source.
            ValueError: for a damaged file, or weights alone where a training is to go on.
        """
        path = Path(given)
        if path.is_file() or path.suffix == ".ckpt":
            return cls(path, checkpoint_config(given), tuple(trusted))
        try:
            path = locate(given)
        except FileNotFoundError as error:
            raise FileNotFoundError(f"--ckpt_path {error}") from None
        if command == "fit":
            raise ValueError(
                f"--ckpt_path {given}: weights alone, without the state of a training that could go on; "
                f"--model.init_from {given} starts a new training from them"
            )
        class_path, arguments = describe_folder(path)
        if not isinstance(arguments, dict):
            raise ValueError(f"{path}: init_args={arguments!r}: arguments by name")
        shape = arguments.pop("image_shape", None)
        arguments = {name: value for name, value in arguments.items() if name not in OF_DATA}
        config = {"model": {"class_path": class_path, "init_args": arguments}, **_shipped_data(given), "options": {}}
        return cls(path, {**config, "as_stored": config, "image_shape": shape and list(shape)}, tuple(trusted))

    @property
    def weights_alone(self) -> bool:
        """Whether there is nothing but weights."""
        return self.path.is_dir()

    def configuration(self, command: str) -> dict[str, Any]:
        """What the run was configured with, as far as it matters to a command."""
        options: dict[str, Any] = self.stored["options"]
        if command != "fit":
            trainer = {key: value for key, value in options.get("trainer", {}).items() if key in MEASURING}
            scored = (options.get("evaluate") or {}).get("extractor") is not None
            kept = ("seed_everything", "evaluate") if scored else ("seed_everything",)
            options = {key: options[key] for key in kept if key in options} | ({"trainer": trainer} if trainer else {})
        return {**options, **{key: self.stored[key] for key in ("model", "data") if key in self.stored}}

    def state(self) -> dict[str, Tensor]:
        """Its tensors."""
        return read_tensors(self.path) if self.weights_alone else describe_checkpoint(self.path)[2]

    def check(self) -> None:
        """Compare what it describes with its tensors, before memory is taken.

        Raises:
            ValueError: if they don't fit.
        """
        described = describe_folder(self.path) if self.weights_alone else describe_checkpoint(self.path)[:2]
        try:
            check_fit(*described, self.state(), self.trusted)
        except Misfit as error:
            raise ValueError(f"--ckpt_path {self.path}: its weights don't fit its model: {error}") from None
        except ValueError as error:
            if not self.trusted:  # a class of the user's, which only the parser may be able to build
                raise ValueError(f"--ckpt_path {self.path}: {error}") from None

    def fill(self, module: Any, changes: Sequence[str]) -> None:
        """Load weights that stand alone; see that those of a checkpoint, which the trainer loads, will fit.

        Raises:
            ValueError: if they don't fit, naming the changed options.
        """
        state = self.state()
        try:
            compare(module.state_dict(), state)
        except Misfit as error:
            told = f" ({'; '.join(changes)})" if changes else ""
            raise ValueError(f"--ckpt_path {self.path}: its weights don't fit this model: {error}{told}") from None
        if self.weights_alone:
            load_weights(module, state, str(self.path))
            take_class_names(module, self.path)
            take_codec(module, self.path)


def options_of(config: dict[str, Any]) -> dict[str, Any]:
    """Of a run's whole configuration, as plain values, what its checkpoints keep beside model and data."""
    trainer = {key: config["trainer"][key] for key in TRAINER if key in config["trainer"]}
    kept = {key: config[key] for key in ("seed_everything", *CALLBACKS) if key in config}
    return {**kept, "trainer": trainer}


def differences(prefix: str, before: Any, now: Any) -> Iterator[tuple[str, Any, Any]]:
    """Which values of two nested configurations differ: name, value before, value now."""
    if isinstance(before, dict) and isinstance(now, dict):
        for key in sorted(before.keys() & now.keys()):
            yield from differences(f"{prefix}.{key}".replace(".init_args", "").lstrip("."), before[key], now[key])
    elif before != now:
        yield prefix, before, now


def left_out(prefix: str, stored: Any, used: Any) -> Iterator[str]:
    """Names of values that a checkpoint gives and that aren't taken from it, unless they are used all the same."""
    if isinstance(stored, dict) and isinstance(used, dict):
        for key, value in stored.items():
            if is_cache(key) and value != used.get(key):
                yield f"{prefix}.{key}={value!r}".replace(".init_args", "")
            elif not is_cache(key):
                yield from left_out(f"{prefix}.{key}", value, used.get(key))


def _shipped_data(name: str) -> dict[str, Any]:
    """The data that a shipped model was trained on, as its config has them."""
    facts = list_pretrained().get(name, {})
    path = configs_folder() / f"{facts.get('config')}.yaml"
    return {"data": yaml.safe_load(path.read_text())["data"]} if path.is_file() else {}
