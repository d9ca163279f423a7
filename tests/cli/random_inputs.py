"""Folders, archives, arrays, shards and statistics with random content, some of it damaged or without sense."""

import io
import json
import tarfile
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

SPLITS = ["train", "Training", "val", "Valid", "TEST", "testset", "dev"]
WORDS = [
    "cat",
    "dog",
    "Dog",
    "crash-test",
    "00000",
    "00001",
    "7",
    "07",
    "ü",
    "a b",
    "a\nb",
    "日本",
    "train 2",
    "-",
    "%s",
]
WORDS += ["{}", "é", "e\u0301", "x" * 80, "\udcff", "'quoted'", "1e5", "None", "__MACOSX", ".hidden"]
MODES = ["RGB", "RGB", "RGB", "L", "RGBA", "LA", "P", "1", "I;16", "I", "F", "CMYK", "YCbCr", "LAB", "HSV"]
KINDS = {"png": "PNG", "jpg": "JPEG", "JPEG": "JPEG", "jfif": "JPEG", "gif": "GIF", "tif": "TIFF", "webp": "WEBP"}
KINDS |= {"bmp": "BMP", "ppm": "PPM", "avif": "AVIF", "TIFF": "TIFF", "jpe": "JPEG"}
OTHERS = ["txt", "heic", "csv", "npy", "md", "PSD", "db", "ini", ""]
DTYPES = ["uint8", "uint8", "uint8", "uint16", "bool", "int64", "float32", "float64", "U3", "complex64", "uint64", "S2"]


def pick(rng, choices):
    return choices[int(rng.integers(len(choices)))]


def picture(rng, kind: str) -> bytes:
    """A picture of a random mode and size, as far as the format takes it, now and then damaged or of several frames."""
    height, width = (int(side) for side in rng.integers(1, 12, 2))
    mode, buffer = pick(rng, MODES), io.BytesIO()
    image = Image.fromarray(rng.integers(256, size=(height, width, 3), dtype=np.uint8))
    image = image.convert("L").convert(mode) if mode in ("I;16", "I", "F") else image.convert(mode)
    more = {"save_all": True, "append_images": [image] * 2} if kind in ("TIFF", "GIF") and rng.random() < 0.2 else {}
    try:
        image.save(buffer, kind, **more)
    except (OSError, ValueError, KeyError):  # a mode that the format doesn't have
        image.convert("RGB").save(buffer, kind)
    return damaged(rng, buffer.getvalue())


def damaged(rng, content: bytes, share: float = 0.06) -> bytes:
    """The content, now and then cut, changed, empty or replaced."""
    if rng.random() > share or not content:
        return content
    place = int(rng.integers(len(content)))
    changed = content[:place] + bytes([int(rng.integers(256))]) + content[place + 1 :]
    return pick(rng, [content[:place], changed, b"", b"no picture", content + b"more", rng.bytes(40)])


def files(rng) -> dict[str, bytes]:
    """Names and contents of the files of a folder: classes in splits or not, some strays, hidden and other files."""
    splits = pick(rng, [[""], [""], ["train", "val"], [pick(rng, SPLITS) for _ in range(3)], ["train", "cat"]])
    classes = pick(rng, [[""], *([pick(rng, WORDS) for _ in range(int(rng.integers(1, 4)))] for _ in range(3))])
    found = {}
    for _ in range(int(rng.integers(0, 14))):
        suffix = pick(rng, [*KINDS] * 3 + OTHERS) if rng.random() < 0.5 else "png"
        content = picture(rng, KINDS[suffix]) if suffix in KINDS else rng.bytes(5)
        stem = pick(rng, [*"0123456789", "test_1", "img00000001", "x.y", ".dot", "ö", "a\nb"])
        parts = [pick(rng, splits), pick(rng, classes), f"{stem}.{suffix}"]
        found["/".join(part for part in parts if part)] = content
    if rng.random() < 0.2:
        found["dataset.json"] = damaged(
            rng, json.dumps({"labels": [[n, int(rng.integers(3))] for n in found]}).encode()
        )
    return {name: content for name, content in found.items() if not any(n.startswith(name + "/") for n in found)}


def write_folder(rng, root: Path) -> dict[str, bytes]:
    """A folder, perhaps with links, as `files` says."""
    found = files(rng)
    root.mkdir()
    for name, content in found.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return found


def write_zip(rng, path: Path) -> dict[str, bytes]:
    """An archive, perhaps of one folder, compressed, with folders of their own or damaged as a whole."""
    found, top = files(rng), pick(rng, ["", "", "all/", "train/"])
    with zipfile.ZipFile(
        path, "w", pick(rng, [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2])
    ) as archive:
        if rng.random() < 0.3:
            archive.writestr("empty/", "")
        for name, content in found.items():
            archive.writestr((top + name).encode("utf-8", "replace").decode(), content)
    path.write_bytes(damaged(rng, path.read_bytes(), 0.1))
    return found


def write_shards(rng, root: Path) -> dict[str, bytes]:
    """Shards with samples of an image and perhaps a label, other members between them, and other files beside them."""
    root.mkdir()
    found: dict[str, bytes] = {}
    odd, labels = rng.random() < 0.3, pick(rng, ["none", "cls", "number", "word"])
    for shard in range(int(rng.integers(0 if odd else 1, 4))):
        names = (
            [f"x-{pick(rng, SPLITS)}-{shard}.tar", f"x-{shard}.tar"]
            if odd
            else [f"x-{pick(rng, SPLITS[:4])}-{shard}.tar"]
        )
        name = pick(rng, [*names, f"train-{shard}.tar"])
        with tarfile.open(root / name, "w") as tar:
            for i in range(int(rng.integers(0, 6))):
                suffix = pick(rng, ["png", "png", "jpg", "webp", "gif" if odd else "tif", "npy" if odd else "png"])
                members = {suffix: picture(rng, KINDS[suffix]) if suffix in KINDS else array_bytes(rng)}
                form = pick(rng, ["cls", "number", "word", "none"]) if odd and rng.random() < 0.3 else labels
                if form == "cls":
                    members["cls"] = damaged(rng, b"%d" % rng.integers(3), 0.01)
                elif form != "none":
                    label = int(rng.integers(3)) if form == "number" else pick(rng, WORDS)
                    members["json"] = damaged(rng, json.dumps({"label": label}).encode(), 0.01)
                if rng.random() < 0.2:
                    members[pick(rng, ["txt", "seg.png", "PNG" if odd else "txt"])] = b"x"
                for kind, content in members.items():
                    info = tarfile.TarInfo(f"{i:03d}.{kind}")
                    info.size = len(content)
                    tar.addfile(info, io.BytesIO(content))
                    found[f"{name}/{info.name}"] = content
        (root / name).write_bytes(damaged(rng, (root / name).read_bytes(), 0.05))
    return found


def array_bytes(rng) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.ones(pick(rng, [(3, 4, 4), (1, 4, 4), (2,)]), pick(rng, ["uint8", "float32"])))
    return damaged(rng, buffer.getvalue())


def write_arrays(rng, path: Path) -> dict[str, np.ndarray]:
    """A .npz of images of some names, shapes and types, with labels of any form."""
    images, labels = pick(
        rng, [("x_{}", "y_{}"), ("{}_images", "{}_labels"), ("{}", "{}_labels"), ("images", "labels")]
    )
    odd = rng.random() < 0.3
    shape = pick(rng, [(5, 5), (5, 6, 3), (3, 5, 6), (2,), (5, 6, 1), *([(5, 5, 5, 5), ()] if odd else [])])
    dtype = pick(rng, DTYPES) if odd else "float32" if shape == (2,) else pick(rng, ["uint8", "uint16", "bool"])
    kind, divided = int(rng.integers(7 if odd else 5)), [["train"], ["train", "valid"], ["train", "test", "dev"]]
    arrays = {}
    for split in pick(rng, [*divided, ["test"], ["train", "validation", "val"]] if odd else divided):
        count = int(rng.integers(0 if odd else 2, 9))
        numbers = rng.integers(pick(rng, [1, 3, 3]), size=count)
        words = np.array([pick(rng, WORDS) for _ in range(3)])[numbers]
        forms = [None, numbers, numbers * 10**9, words, np.eye(3)[numbers], numbers[:-1], numbers - 1.5]
        values = rng.integers(0, 100, (count, *shape))
        arrays[images.format(split)] = values.astype(dtype)
        if forms[kind] is not None:
            arrays[labels.format(split)] = forms[kind]
    if rng.random() < 0.3:
        names = np.array([pick(rng, WORDS) for _ in range(int(rng.integers(0, 5) if odd else 3))])
        arrays[pick(rng, ["class_names", "label_names", "more"])] = names
    np.savez(path, **arrays)
    path.write_bytes(damaged(rng, path.read_bytes(), 0.1))
    return arrays


def write_statistics(rng, path: Path) -> dict[str, np.ndarray]:
    """A .npz of a mean and covariance, some of them impossible."""
    size, odd = int(rng.integers(1, 4)), rng.random() < 0.5
    root = rng.normal(size=(size, size))
    arrays = {"mu": root[0], "sigma": root @ root.T}
    if odd:
        arrays["mu"] = pick(rng, [root[0], root, np.array(1.0), root[0][:-1], root[0] * np.inf, root[0].astype("U5")])
        matrices = [
            root @ root.T,
            root,
            -root @ root.T,
            root[:1],
            np.full((size, size), np.nan),
            root.astype("complex64"),
        ]
        arrays["sigma"] = pick(rng, [*matrices, (root @ root.T).astype("float32"), (root @ root.T).round().astype(int)])
    extra = {"count": np.array(pick(rng, [0, -1, 5, 5.5])), "labels": rng.integers(-2, 3, 4), "rows": root}
    extra |= {
        "class_names": np.array(["a", "b"]),
        "protocol": np.array(pick(rng, ["{}", "null", "[", '{"version": 9}'])),
    }
    arrays |= {key: value for key, value in extra.items() if odd and rng.random() < 0.3}
    np.savez(path, **{key: value for key, value in arrays.items() if not odd or rng.random() < 0.95})
    path.write_bytes(damaged(rng, path.read_bytes(), 0.1))
    return arrays
