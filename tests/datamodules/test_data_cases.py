"""Data as people have them, each with what has to come of it: classes, sizes of the splits, and what is said."""

import io
import json
import re
import tarfile

import numpy as np
import pytest
from PIL import Image

from datamodules import ArrayDataModule, ImageFolderDataModule, StreamingDataModule, decoding
from datamodules.checking import check

SIDE = 16


def pixels(rng, high=256, dtype="uint8", shape=(SIDE, SIDE, 3)):
    return (rng.random(shape) * high).astype(dtype)


def pictures(root, names, make=pixels, **options):
    rng = np.random.default_rng(0)
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(make(rng)).save(root / name, "JPEG" if name.endswith(("jpg", "jfif")) else None, **options)


def under(splits, classes="ab", count=6, suffix="jpg"):
    return [f"{split}/{kind}/{i}.{suffix}" for split in splits for kind in classes for i in range(count)]


def grey(high, dtype="uint8"):
    return lambda rng: pixels(rng, high, dtype, (SIDE, SIDE))


def masks(rng):
    return (rng.random((SIDE, SIDE)) < 0.3).astype("uint8")


def training_and_testing(root):
    pictures(root, under(["Training", "Testing"]))


def train_valid_test(root):
    pictures(root, under(["train", "valid", "test"]))


def train_valid(root):
    pictures(root, under(["train", "valid"]))


def twelve_bits(root):
    pictures(root, [f"{i}.png" for i in range(12)], grey(4096, "uint16"))


def zeros_and_ones(root):
    pictures(root, [f"{i}.png" for i in range(12)], masks)


def wide_integers(root):
    pictures(root, [f"{i}.tif" for i in range(12)], grey(300, "int32"))


def other_formats(root):
    pictures(root, [f"{i}.jpg" for i in range(12)] + [f"{i + 12}.jfif" for i in range(30)])
    for i in range(30):
        (root / f"{i}.HEIC").touch()


def slices(root):
    rng = np.random.default_rng(0)
    pages = [Image.fromarray(pixels(rng, shape=(SIDE, SIDE))) for _ in range(10)]
    root.mkdir()
    for i in range(4):
        pages[0].save(root / f"{i}.tif", save_all=True, append_images=pages[1:])


def stray_picture(root):
    pictures(root, [f"{kind}/{i}.png" for kind in "ab" for i in range(10)])
    pictures(root, ["contact_sheet.png"])


def chunks(root):
    pictures(root, [f"{i // 10:05d}/img{i:08d}.png" for i in range(20)])
    (root / "dataset.json").write_text('{"labels": null}')


def labelled_chunks(root):
    names = [f"{i // 10:05d}/img{i:08d}.png" for i in range(20)]
    pictures(root, names)
    (root / "dataset.json").write_text(json.dumps({"labels": [[name, i % 2] for i, name in enumerate(names)]}))


FOLDERS = [
    (training_and_testing, {}, ("a", "b"), [11, 1, 12], "2 classes (a 6, b 5 for training)|2 classes (a 5, b 6"),
    (train_valid_test, {}, ("a", "b"), [12, 12, 12], "(a 6, b 6 for training)"),
    (train_valid, {}, ("a", "b"), [11, 12, 1], "train 11, val 12, test 1"),
    (twelve_bits, {"channels": 1}, (), [10, 1, 1], "white=4095 would use the range"),
    (twelve_bits, {"channels": 1, "white": 4095}, (), [10, 1, 1], "of 4095; no labels"),
    (zeros_and_ones, {"channels": 1}, (), [10, 1, 1], "white=1 would use the range"),
    (zeros_and_ones, {"channels": 1, "white": 1}, (), [10, 1, 1], "values 0 to 1 of 1"),
    (wide_integers, {"channels": 1, "white": 300}, (), [10, 1, 1], "32-bit grey; values"),
    (other_formats, {}, (), [34, 4, 4], "left out 30 .heic"),
    (slices, {"channels": 1}, (), [2, 1, 1], "4 of 4 files looked at hold several pages or frames ("),
    (slices, {"channels": 1, "pages": "all"}, (), [20, 10, 10], "40 images"),
    (stray_picture, {"labels": "none"}, (), [17, 2, 2], "no labels"),
    (chunks, {}, (), [16, 2, 2], "no labels"),
    (labelled_chunks, {}, ("0", "1"), [16, 2, 2], "2 classes (0 "),
]


@pytest.mark.parametrize(("make", "options", "names", "sizes", "said"), FOLDERS)
def test_folders(tmp_path, make, options, names, sizes, said):
    make(tmp_path / "x")
    data = ImageFolderDataModule(tmp_path / "x", image_size=SIDE, batch_size=2, **options)
    assert data.class_names == names
    assert [len(data.dataset(split)) for split in ("train", "val", "test")] == sizes
    summary = data.summary(look=None)
    text = "\n".join((summary.line(), *summary.warnings))
    assert any(part in text for part in said.split("|")), text
    images = data.dataset("train").__getitems__([0, 1])[0]
    assert images.float().std() > 40 or "would use the range" in said  # whole range of 0 to 255


def test_a_picture_beside_the_classes_is_named(tmp_path):
    stray_picture(tmp_path / "x")
    with pytest.raises(ValueError, match=r"contact_sheet\.png lies beside the folders of the 2 classes"):
        ImageFolderDataModule(tmp_path / "x").class_names  # noqa: B018


SHARDS = [(["train", "valid"], [6, 6, 0]), (["trainset", "testset", "eval"], [6, 6, 6]), (["training"], [6, 0, 0])]


@pytest.mark.parametrize(("words", "sizes"), SHARDS)
def test_shards(tmp_path, words, sizes):
    rng = np.random.default_rng(0)
    for word in words:
        with tarfile.open(tmp_path / f"{word}-0.tar", "w") as tar:
            for i in range(6):
                buffer = io.BytesIO()
                Image.fromarray(pixels(rng)).save(buffer, "PNG")
                entry = tarfile.TarInfo(f"{i}.png")
                entry.size = len(buffer.getvalue())
                tar.addfile(entry, io.BytesIO(buffer.getvalue()))
    data = StreamingDataModule(tmp_path, batch_size=2)
    assert [len(data.dataset(split)) for split in ("train", "val", "test")] == sizes
    (tmp_path / "train-test-1.tar").write_bytes((tmp_path / f"{words[0]}-0.tar").read_bytes())
    with pytest.raises(ValueError, match="train-test-1: the name says several splits, train and test"):
        StreamingDataModule(tmp_path).dataset("train")


def labels(*values):
    return {"images": np.zeros((len(values), 4, 4), "uint8"), "labels": np.array(values)}


ARRAYS = [
    (labels(1, 2, 3, 1), {}, ("0", "1", "2", "3"), "no training image of 0: such classes can't be learned"),
    (labels(1, 2, 3, 1), {"renumber": True}, ("1", "2", "3"), "3 classes (1 2, 2 1, 3 1"),
    (labels(0, 7, 1_000_000), {}, ("0", "7", "1000000"), "3 classes"),
    (labels(0, 10**12), {}, ("0", str(10**12)), "2 classes"),
    (labels("cat", "owl", "cat"), {}, ("cat", "owl"), "2 classes (cat 2, owl 1"),
    (
        {"pics": np.zeros((3, 4, 4), "uint8"), "y": np.eye(3)},
        {"images": "pics", "labels": "y"},
        ("0", "1", "2"),
        "3 cl",
    ),
    ({"arr_0": np.zeros((3, 5, 5, 3), "uint8"), "arr_1": np.array([0, 1, 1])}, {}, ("0", "1"), "2 classes (0 1, 1 2"),
]


@pytest.mark.parametrize(("arrays", "options", "names", "said"), ARRAYS)
def test_arrays(tmp_path, arrays, options, names, said):
    np.savez(tmp_path / "x.npz", **arrays)
    data = ArrayDataModule(tmp_path / "x.npz", val_share=0, test_share=0, batch_size=1, **options)
    assert data.class_names == names
    assert said in "\n".join((data.summary().line(), *data.summary().warnings))


@pytest.mark.parametrize("kind", ["folder", "shards"])
def test_a_check_decodes_every_image_once(tmp_path, monkeypatch, kind):
    opened = []
    readable = decoding.readable

    def counted(*arguments):
        opened.append(arguments[1])
        return readable(*arguments)

    if kind == "folder":
        pictures(tmp_path, [f"{i}.png" for i in range(150)])
        (tmp_path / "x.png").write_bytes(b"no picture")
        data = ImageFolderDataModule(tmp_path, image_size=8)
    else:
        pictures(tmp_path / "files", [f"{i}.png" for i in range(30)])
        with tarfile.open(tmp_path / "train-0.tar", "w") as tar:
            for i in range(30):
                tar.add(tmp_path / "files" / f"{i}.png", f"{i}.png")
        data = StreamingDataModule(tmp_path)
        assert data.image_shape == (3, SIDE, SIDE)
    monkeypatch.setattr(decoding, "readable", counted)
    summary = check(data)
    assert len(opened) == len(set(opened)) == sum(summary.images.values()) == (151 if kind == "folder" else 30)
    assert [re.search(r"x\.png: not a readable image: of none of the formats PNG, JPEG", e) is not None
            for e in summary.found.errors] == [True] * (kind == "folder")  # fmt: skip
    assert "checksums" not in summary.as_dict()
