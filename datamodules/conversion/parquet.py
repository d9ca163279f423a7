"""Parquet files as Hugging Face's ``datasets`` and hub read them: pictures as files, classes by name."""

import importlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from datamodules.conversion.parts import Finished, items
from datamodules.datasets import SPLITS

FILE_BYTES = 500_000_000  # of a file's pictures, after which another is begun


def require_pyarrow() -> None:
    """Refuse to begin without the package that writes parquet.

    Raises:
        ModuleNotFoundError: it isn't there; names the extra.
    """
    try:
        importlib.import_module("pyarrow.parquet")
    except ModuleNotFoundError:
        raise ModuleNotFoundError("parquet needs the package pyarrow: pip install 'lit-gen[parquet]'") from None


def write_parquet(path: Path, finished: Sequence[Finished], class_names: tuple[str, ...]) -> None:
    """One file, or a folder of files ``train-00000-of-00002.parquet``; each part is a row group.

    Columns are ``image``, a struct of ``bytes`` and ``path``, and ``label``, an int64; the schema's metadata
    ``huggingface`` says that these are an Image and a ClassLabel with its names.
    """
    parts = [part for part in finished if part.done.suffixes]
    if path.suffix == ".parquet":
        _write_file(path, parts, class_names)
        return
    path.mkdir()
    for split in SPLITS:
        files = list(_divided([part for part in parts if part.done.split == split]))
        for i, held in enumerate(files):
            _write_file(path / f"{split}-{i:05d}-of-{len(files):05d}.parquet", held, class_names)


def _divided(parts: Sequence[Finished]) -> Iterator[list[Finished]]:
    held: list[Finished] = []
    for part in parts:
        if held and sum(each.done.size for each in held) + part.done.size > FILE_BYTES:
            yield held
            held = []
        held.append(part)
    if held:
        yield held


def _write_file(path: Path, parts: Sequence[Finished], class_names: tuple[str, ...]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    features: dict[str, Any] = {"image": {"_type": "Image"}}
    fields = [pa.field("image", pa.struct({"bytes": pa.binary(), "path": pa.string()}))]
    if class_names:
        features["label"] = {"names": list(class_names), "_type": "ClassLabel"}
        fields.append(pa.field("label", pa.int64()))
    schema = pa.schema(fields, {"huggingface": json.dumps({"info": {"features": features}})})
    with pq.ParquetWriter(path, schema, compression="snappy", use_dictionary=["label"], write_statistics=False) as file:
        start = 0
        for part in parts:
            images, labels = [], []
            for item in items([part]):
                name = f"{item.split}-{start + item.number:08d}.{item.suffix}"
                images.append({"bytes": item.content, "path": name})
                labels.append(item.label)
            columns = [images, labels] if class_names else [images]
            arrays = [pa.array(column, field.type) for column, field in zip(columns, schema, strict=True)]
            file.write_table(pa.Table.from_arrays(arrays, schema=schema), row_group_size=len(images))
            start += len(images)
