"""``lit-gen export``: a trained model, or one of its networks, for use without the training stack."""

import argparse
import gc
import logging
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lit_gen.cli.words import CommandParser
from lit_gen.files import whole_file
from lit_gen.modules import LatentVariableModel
from lit_gen.pretrained.loading import from_pretrained, save_pretrained

PARTS = ("generator", "encoder", "decoder")


class Images(nn.Module):
    """Latents to images in [-1, 1]: the generator, or the likelihood's mean image of the decoder's output."""

    def __init__(self, module: LatentVariableModel) -> None:
        super().__init__()
        self.module = module

    def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """``(N, latent_dim)`` to ``(N, *image_shape)``."""
        return self.module.decode(z) if labels is None else self.module.decode(z, labels)


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    text = "Writes a trained model, or one of its networks, for use without the training stack."
    command = CommandParser("export", text)
    command.add_argument("source", help="a checkpoint, a folder of save_pretrained, or a shipped name")
    command.add_argument("--format", required=True, choices=("safetensors", "onnx", "torch_export"))
    command.add_argument("--part", choices=PARTS, help="of onnx and torch_export: which network; latents to images "
                         "for generator and decoder, images to mean and log scale for encoder")  # fmt: skip
    command.add_argument("--trust", nargs="+", default=[], help="packages of your own whose classes the model names")
    command.add_argument("--out", help="a new folder for safetensors, else a file; by default named after the source")
    return command


def run(arguments: list[str]) -> None:
    """Write the export.

    Raises:
        ValueError: for a part that the model doesn't have, or a target that exists.
        FileNotFoundError: if there is no such source.
        ModuleNotFoundError: if ONNX is asked for and not installed.
    """
    options = parser().parse_args(arguments)
    module = from_pretrained(options.source, trusted=options.trust)
    suffix = {"safetensors": "", "onnx": ".onnx", "torch_export": ".pt2"}[options.format]
    stem = Path(options.source).stem
    if options.format == "safetensors":
        out = Path(options.out or f"{stem}-pretrained")
        save_pretrained(module, out)
    else:
        network, inputs = part_of(module, options.part, options.source)
        out = Path(options.out or f"{stem}{suffix}")
        if out.suffix != suffix:
            raise ValueError(f"--out {out}: the format {options.format} is written to a {suffix} file")
        (write_onnx if options.format == "onnx" else write_program)(network, inputs, out)
        gc.collect()  # torch.export leaves copies of the networks' classes, which would make their names ambiguous
    print(f"lit-gen: {options.source} as {options.format} in {out}")


def part_of(module: Any, part: str | None, source: str) -> tuple[nn.Module, tuple[Tensor, ...]]:
    """The network with example inputs, two samples of each."""
    has = [name for name in PARTS if isinstance(getattr(module, name, None), nn.Module)]
    part = part or next((name for name in has if name != "encoder"), None)
    if part not in has:
        raise ValueError(f"--part {part}: the {type(module).__name__} of {source} has {', '.join(has) or 'none'}")
    labels = (torch.zeros(2, dtype=torch.int64),) if module.conditional else ()
    if part == "encoder":
        return module.network(part).eval(), (torch.zeros(2, *module.image_shape), *labels)
    return Images(module).eval(), (torch.zeros(2, module.latent_dim), *labels)


def dynamic(inputs: tuple[Tensor, ...]) -> tuple[dict[int, Any], ...]:
    """The batch dimension of every input, one and the same, of any size."""
    batch = torch.export.Dim("batch", min=1, max=2**16)
    return tuple({0: batch} for _ in inputs)


def write_program(network: nn.Module, inputs: tuple[Tensor, ...], out: Path) -> None:
    """A ``torch.export`` program, for ``torch.export.load``."""
    with torch.no_grad():
        program = torch.export.export(network, inputs, dynamic_shapes=dynamic(inputs))
    with whole_file(out) as file:
        torch.export.save(program, file)


def write_onnx(network: nn.Module, inputs: tuple[Tensor, ...], out: Path) -> None:
    """An ONNX file with the inputs ``z`` or ``images``, and ``labels``."""
    try:
        import onnxscript  # noqa: F401
    except ModuleNotFoundError:
        raise ModuleNotFoundError(
            "--format onnx needs the packages onnx and onnxscript: pip install 'lit-gen[onnx]'"
        ) from None
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    first = "z" if inputs[0].ndim == 2 and isinstance(network, Images) else "images"
    names = [first, "labels"][: len(inputs)]
    with torch.no_grad():
        program = torch.onnx.export(
            network, inputs, input_names=names, dynamo=True, verbose=False, dynamic_shapes=dynamic(inputs)
        )
    assert program is not None
    content = program.model_proto.SerializeToString()
    with whole_file(out) as file:
        file.write(content)
