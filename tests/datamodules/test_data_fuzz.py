"""Random folders, archives, shards and arrays: read, or refused in one line, and every file accounted for."""

import io
import json
import tarfile
import tempfile
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from datamodules import ArrayDataModule, ImageFolderDataModule, StreamingDataModule
from datamodules.checking import check
from datamodules.datasets import SPLITS

FOLDERS = st.lists(
    st.sampled_from(["train", "Valid", "TEST", "testset", "cat", "dog", "crash-test", "00000", "00001", "ü", "a b"]),
    max_size=2,
).map("/".join)
STEMS = st.sampled_from(["1", "2", "test_1", "img00000001", "img00000002", "x.y", "ö"])
SUFFIXES = st.sampled_from(["png", "png", "png", "JPG", "jfif", "gif", "tif", "webp", "heic", "txt", "csv", "PNG"])
LABELS = st.sampled_from([0, 1, 7, 10**12, -1, "cat", [0, 1], [1, 1], None, 1.5])


def picture(mode: str, size: tuple[int, int], kind: str) -> bytes:
    buffer = io.BytesIO()
    Image.new(mode, size).save(buffer, kind)
    return buffer.getvalue()


PICTURES = [picture("RGB", (5, 4), kind) for kind in ("PNG", "JPEG", "GIF", "TIFF", "WEBP")]
PICTURES += [picture(mode, (3, 3), "PNG") for mode in ("L", "I;16", "RGBA", "P", "1")] + [b"", b"no picture"]
PICTURES += [PICTURES[0][:-20]]
FILES = st.dictionaries(
    st.builds(lambda folder, stem, suffix: f"{folder}/{stem}.{suffix}".lstrip("/"), FOLDERS, STEMS, SUFFIXES),
    st.sampled_from(PICTURES),
    max_size=8,
)
LABEL_FILES = st.one_of(
    st.none(),
    st.dictionaries(st.builds("{}.png".format, STEMS), LABELS, max_size=4).map(lambda x: json.dumps({"labels": x})),
    st.sampled_from(['{"labels": null}', "[]", "3", "{", '{"labels": [["1.png"]]}', "null"]),
)
OPTIONS = st.fixed_dictionaries(
    {
        "val_share": st.sampled_from([0, 0.25]),
        "white": st.sampled_from([None, None, 1, 300]),
        "alpha": st.sampled_from(["white", "drop"]),
    },
    optional={"splits": st.just("none"), "labels": st.sampled_from(["none", "dataset.json"]), "pages": st.just("all")},
)
SHAPES = st.lists(st.sampled_from([0, 1, 3, 4, 6]), min_size=1, max_size=4).map(tuple)
DTYPES = st.sampled_from(["uint8", "uint8", "uint16", "bool", "int64", "float32", "U3", "complex64", "uint64"])
KEYS = st.sampled_from(
    [
        "images",
        "labels",
        "x_train",
        "X_Valid",
        "y_train",
        "y_val",
        "arr_0",
        "arr_1",
        "train",
        "dev",
        "test_labels",
        "a/b",
    ]
)
STRANGE = st.dictionaries(KEYS, st.builds(np.ones, SHAPES, DTYPES), min_size=1, max_size=4)


@st.composite
def sensible(draw):
    """Images of one shape and type with labels of one form, in some splits, and perhaps an array of no use."""
    images, labels = draw(st.sampled_from([("x_{}", "y_{}"), ("{}_images", "{}_labels"), ("{}", "{}_labels")]))
    shape = draw(st.sampled_from([(4, 4), (4, 5, 3), (3, 4, 5), (2,)]))
    dtype = "float32" if shape == (2,) else draw(st.sampled_from(["uint8", "uint16", "bool"]))
    kind = draw(st.sampled_from(["none", "numbers", "gaps", "words", "one-hot"]))
    arrays = {}
    for name in ["train", *draw(st.lists(st.sampled_from(["Valid", "testing"]), unique=True))]:
        count = draw(st.integers(2, 9))
        numbers = np.array(draw(st.lists(st.integers(0, 2), min_size=count, max_size=count)))
        forms = {"numbers": numbers, "gaps": numbers * 10**9, "words": np.array([*"abc"])[numbers]}
        forms["one-hot"] = np.eye(3)[numbers]
        arrays[images.format(name)] = np.ones((count, *shape), dtype)
        if kind != "none":
            arrays[labels.format(name)] = forms[kind]
    return arrays | draw(st.sampled_from([{}, {"more": np.zeros(3)}]))


ARRAYS = st.one_of(sensible(), STRANGE)


def fuzzed(examples):
    checks = [HealthCheck.too_slow, HealthCheck.data_too_large]
    return settings(max_examples=examples, derandomize=True, deadline=None, suppress_health_check=checks, database=None)


def read(data) -> dict | None:
    """The summary's plain values after everything was asked for; None for data that were refused in one line."""
    refused = ""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            summary = check(data)
            assert "\n" not in summary.line()
            assert len(data.class_names) == data.num_classes < 100
            for split in SPLITS:
                labels = data.dataset(split).labels
                assert len(labels) == len(data.dataset(split)) == summary.images[split]
                assert not len(labels) or 0 <= int(labels.min()) <= int(labels.max()) < max(data.num_classes, 1)
            return json.loads(json.dumps(summary.as_dict()))
    except (ValueError, FileNotFoundError) as error:
        refused = str(error)
    assert "\n" not in refused, refused
    assert len(refused) > 10
    return None


def pictures_are_accounted_for(files, labels, options):
    with tempfile.TemporaryDirectory() as place:
        root = Path(place, "root")
        root.mkdir()
        contents = {**files, **({} if labels is None else {"dataset.json": labels.encode()})}
        with zipfile.ZipFile(Path(place, "root.zip"), "w") as archive:
            for name, content in contents.items():
                (root / name).parent.mkdir(parents=True, exist_ok=True)
                (root / name).write_bytes(content)
                archive.writestr(name, content)
        for path in (root, Path(place, "root.zip")):
            told = read(ImageFolderDataModule(path, 4, test_share=0, **options))
            if told is not None:
                assert sum(told["images"].values()) + sum(told["left_out"].values()) == len(files)


def shards_are_accounted_for(files, labels):
    with tempfile.TemporaryDirectory() as root:
        with tarfile.open(Path(root, "x-train-0.tar"), "w") as tar:
            for name, content in files.items():
                members = {name: content}
                if labels is not None:
                    members[f"{name.rpartition('.')[0]}.json"] = labels.encode()
                for member, bytes_ in members.items():
                    info = tarfile.TarInfo(member)
                    info.size = len(bytes_)
                    tar.addfile(info, io.BytesIO(bytes_))
        told = read(StreamingDataModule(root))
        if told is not None:
            assert sum(told["images"].values()) + sum(told["left_out"].values()) == len(files)


def arrays_are_accounted_for(arrays, options):
    with tempfile.TemporaryDirectory() as root:
        np.savez(Path(root, "x.npz"), **arrays)
        told = read(ArrayDataModule(Path(root, "x.npz"), test_share=0, **options))
        if told is not None:
            largest = max(len(array) for array in arrays.values())
            assert max(told["images"].values()) <= largest
            assert set(told["left_out"]) <= {f"array {key!r}" for key in arrays}
            assert 0 < len(arrays) - len(told["left_out"]) <= 2 * len(SPLITS)


ARRAY_OPTIONS = st.fixed_dictionaries({"val_share": st.sampled_from([0, 0.25]), "white": st.sampled_from([None, 1, 9])})


@fuzzed(60)
@given(FILES, LABEL_FILES, OPTIONS)
def test_pictures(files, labels, options):
    pictures_are_accounted_for(files, labels, options)


@fuzzed(60)
@given(FILES, st.one_of(st.none(), LABELS.map(lambda label: json.dumps({"label": label})), st.just("{")))
def test_shards(files, labels):
    shards_are_accounted_for(files, labels)


@fuzzed(60)
@given(ARRAYS, ARRAY_OPTIONS)
def test_arrays(arrays, options):
    arrays_are_accounted_for(arrays, options)


@pytest.mark.slow
@fuzzed(1000)
@given(FILES, LABEL_FILES, OPTIONS, ARRAYS, ARRAY_OPTIONS)
def test_much_of_everything(files, labels, options, arrays, array_options):
    pictures_are_accounted_for(files, labels, options)
    shards_are_accounted_for(files, labels)
    arrays_are_accounted_for(arrays, array_options)
