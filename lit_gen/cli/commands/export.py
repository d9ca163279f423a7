"""``lit-gen export``: a trained model, or one of its networks, for use without the training stack."""

import argparse
import gc
import json
import logging
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import lit_gen
from lit_gen.cli.commands.export_parts import PARTS, Part, parts_of
from lit_gen.cli.words import CommandParser
from lit_gen.files import whole_file
from lit_gen.pretrained.loading import from_pretrained
from lit_gen.pretrained.saving import save_pretrained

SUFFIXES = {"safetensors": "", "onnx": ".onnx", "torch_export": ".pt2"}
METADATA = "lit_gen.json"  # the extra file of a torch.export archive


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    text = "Writes a trained model, or one of its networks, for use without the training stack."
    command = CommandParser("export", text)
    command.add_argument("source", help="a checkpoint, a folder of save_pretrained, or a shipped name")
    command.add_argument("--format", required=True, choices=tuple(SUFFIXES))
    command.add_argument("--part", choices=PARTS, help="of onnx and torch_export: which network; latents to images "
                         "for generator and decoder, images to mean and log scale, or an autoencoder's latents, "
                         "for encoder, to scores for discriminators, to images for translators "
                         "(generator_ab, generator_ba)")  # fmt: skip
    command.add_argument("--opset", type=int, help="of onnx: the version of its operators (the exporter's own)")
    command.add_argument("--trust", nargs="+", default=[], help="packages of your own whose classes the model names")
    command.add_argument("--out", help="a new folder for safetensors, else a file; by default named after the source")
    return command


def run(arguments: list[str]) -> None:
    """Write the export.

    Raises:
        ValueError: for a part that the model doesn't have, an option of another format, or a target that exists.
        FileNotFoundError: if there is no such source.
        ModuleNotFoundError: if ONNX is asked for and not installed.
    """
    options = parser().parse_args(arguments)
    if options.part is not None and options.format == "safetensors":
        raise ValueError(f"--part {options.part}: --format safetensors writes the whole model; leave it out")
    if options.opset is not None and options.format != "onnx":
        raise ValueError(f"--opset {options.opset}: of --format onnx alone")
    suffix, stem = SUFFIXES[options.format], Path(options.source).stem
    if suffix and options.out and Path(options.out).suffix != suffix:
        raise ValueError(f"--out {options.out}: the format {options.format} is written to a {suffix} file")
    module = from_pretrained(options.source, trusted=options.trust, training=False)
    if options.format == "safetensors":
        out = Path(options.out or f"{stem}-pretrained")
        save_pretrained(module, out)
    else:
        part = part_of(module, options.part, options.source)
        out = Path(options.out or f"{stem}{suffix}")
        facts = {"source": stem, "lit_gen": lit_gen.__version__, **part.describe()}
        if options.format == "onnx":
            write_onnx(part, out, facts, options.opset)
        else:
            write_program(part, out, facts)
        gc.collect()  # torch.export leaves copies of the networks' classes, which would make their names ambiguous
    print(f"lit-gen: {options.source} as {options.format} in {out}")


def part_of(module: Any, part: str | None, source: str) -> Part:
    """The network, ready to be exported; without a name the one that makes images.

    Raises:
        ValueError: the model doesn't have it.
    """
    has = parts_of(module)
    if not has:
        kind = type(module).__name__
        raise ValueError(f"{source}: no network of a {kind} works by itself; --format safetensors writes the model")
    part = part or next((name for name in has if name != "encoder"), None)
    if part not in has:
        raise ValueError(f"--part {part}: the {type(module).__name__} of {source} has {', '.join(has) or 'none'}")
    return has[part](module, part).eval()


def dynamic(inputs: tuple[Tensor, ...]) -> tuple[dict[int, Any], ...]:
    """The batch dimension of every input, one and the same, of any size."""
    batch = torch.export.Dim("batch", min=1, max=2**16)
    return tuple({0: batch} for _ in inputs)


def write_program(part: Part, out: Path, facts: dict[str, Any]) -> None:
    """A ``torch.export`` program, for ``torch.export.load``, with the facts as its extra file ``lit_gen.json``.

    Raises:
        ValueError: a network that works for one size of batch alone, or can't be traced.
    """
    inputs = part.example()
    try:
        with torch.no_grad():
            program = torch.export.export(part, inputs, dynamic_shapes=(dynamic(inputs),))
    except RuntimeError as error:  # what torch.export raises for networks that it can't follow
        raise _not_traced(part) from error
    with whole_file(out) as file:
        torch.export.save(program, file, extra_files={METADATA: json.dumps(facts)})


def write_onnx(part: Part, out: Path, facts: dict[str, Any], opset: int | None = None) -> None:
    """An ONNX file with named inputs and outputs, and the facts as its metadata.

    Raises:
        ValueError: an opset that the exporter can't write, or a network that works for one size of batch alone.
    """
    try:
        import onnxscript  # noqa: F401
    except ModuleNotFoundError:
        raise ModuleNotFoundError(
            "--format onnx needs the packages onnx and onnxscript: pip install 'lit-gen[onnx]'"
        ) from None
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    logging.getLogger("onnxscript").setLevel(logging.ERROR)
    inputs = part.example()
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the converter's own code
        program = torch.onnx.export(
            part, inputs, input_names=part.inputs, output_names=part.outputs, opset_version=opset, dynamo=True,
            verbose=False, dynamic_shapes=(dynamic(inputs),),
        )  # fmt: skip
    assert program is not None
    proto = program.model_proto
    if not all(entry.type.tensor_type.shape.dim[0].dim_param for entry in proto.graph.input):
        raise _not_traced(part)
    written = next(entry.version for entry in proto.opset_import if entry.domain == "")
    if opset is not None and written != opset:
        raise ValueError(f"--opset {opset}: the exporter writes this network with opset {written}")
    for key, value in facts.items():
        proto.metadata_props.add(key=key, value=value if isinstance(value, str) else json.dumps(value))
    content = proto.SerializeToString()
    with whole_file(out) as file:
        file.write(content)


def _not_traced(part: Part) -> ValueError:
    network = type(part.module).__name__
    return ValueError(f"--part {part.name}: torch.export can't follow this {network} for batches of any size")
