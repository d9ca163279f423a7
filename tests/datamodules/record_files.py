"""Pictures in tables and data bases, as the formats' own tools write them. Shared by tests."""

import io
import json

import numpy as np
from PIL import Image


def encoded(array, kind="PNG"):
    """A picture (H, W) or (H, W, 3) as bytes."""
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, kind)
    return buffer.getvalue()


def random_pictures(count, side=6, seed=0):
    return np.random.default_rng(seed).integers(256, size=(count, side, side, 3), dtype=np.uint8)


def features(**columns):
    """The schema's metadata that the package datasets writes."""
    return {b"huggingface": json.dumps({"info": {"features": columns}}).encode()}


IMAGE = {"_type": "Image"}


def classes(*names):
    return {"names": list(names), "_type": "ClassLabel"}


def write_parquet(path, contents, labels=None, names=(), paths=None, group=10, image="image", label="label"):
    """A table of struct<bytes, path> and int64, in row groups of `group`."""
    import pyarrow as pa
    import pyarrow.parquet

    paths = [None] * len(contents) if paths is None else paths
    kind = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    columns = {image: pa.array([{"bytes": b, "path": p} for b, p in zip(contents, paths, strict=True)], kind)}
    told = {image: IMAGE}
    if labels is not None:
        columns[label] = pa.array(labels)
        told |= {label: classes(*names)} if names else {}
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pa.table(columns).replace_schema_metadata(features(**told))
    pyarrow.parquet.write_table(table, path, row_group_size=group)
    return path
