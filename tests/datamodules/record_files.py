"""Pictures in tables and data bases, as the formats' own tools write them. Shared by tests."""

import io
import json

import numpy as np
import torch
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


def everything(data, split="train"):
    """All images and labels of a split."""
    dataset = data.dataset(split)
    return dataset.__getitems__(list(range(len(dataset))))


def epoch(data, number=0):
    """All tensors of an epoch's batches."""
    loader = data.train_dataloader()
    loader.sampler.set_epoch(number)
    return [tensor for batch in loader for tensor in batch]


def same(a, b):
    return len(a) == len(b) and all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


IMAGE = {"_type": "Image"}


def classes(*names):
    return {"names": list(names), "_type": "ClassLabel"}


def write_lmdb(path, contents, subdir=True):
    """A data base of values by key, closed."""
    import lmdb

    path.parent.mkdir(parents=True, exist_ok=True)
    with lmdb.open(str(path), subdir=subdir, map_size=2**24) as opened, opened.begin(write=True) as transaction:
        for key, content in contents.items():
            transaction.put(key.encode(), content)
    return path


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
