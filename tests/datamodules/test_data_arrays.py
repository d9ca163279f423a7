import numpy as np
import pytest
import torch

from datamodules import ArrayDataModule
from datamodules.array_file import ArrayFile

rng = np.random.default_rng(0)


def images(*shape) -> np.ndarray:
    return rng.integers(256, size=shape, dtype=np.uint8)


def save(folder, name="data.npz", **arrays) -> str:
    path = folder / name
    np.savez(path, **arrays)
    return str(path)


def everything(data, split):
    dataset = data.dataset(split)
    return [part.numpy() for part in dataset.__getitems__(list(range(len(dataset))))]


@pytest.mark.parametrize(
    ("shape", "layout", "expected"),
    [
        ((20, 5, 7), "auto", (1, 5, 7)),
        ((20, 5, 7, 3), "auto", (3, 5, 7)),
        ((20, 3, 5, 7), "auto", (3, 5, 7)),
        ((20, 4, 5, 7), "auto", (4, 5, 7)),
        ((20, 3, 5, 3), "NHWC", (3, 3, 5)),
        ((20, 3, 5, 3), "NCHW", (3, 5, 3)),
        ((20, 2, 5, 6), "NCHW", (2, 5, 6)),
    ],
)
def test_images_come_as_channels_first(tmp_path, shape, layout, expected):
    array = images(*shape)
    path = tmp_path / "stem.npy"
    np.save(path, array)
    data = ArrayDataModule(str(path), layout=layout, val_share=0, test_share=0)
    assert (data.name, data.image_shape, data.num_classes) == ("stem", expected, 0)
    out, labels = everything(data, "train")
    channels_last = expected == (shape[-1], *shape[1:-1])
    assert out.dtype == np.uint8
    assert np.array_equal(out, np.moveaxis(array, -1, 1) if channels_last else array.reshape(20, *expected))
    assert labels.tolist() == [0] * 20
    assert data.dataset("train").images.is_contiguous()


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, ">f8"])
def test_points_become_float32(tmp_path, dtype):
    points = rng.normal(size=(20, 3)).astype(dtype)
    data = ArrayDataModule(save(tmp_path, anything=points), val_share=0, test_share=0)
    assert data.image_shape == (3,)
    out, _ = everything(data, "train")
    assert out.dtype == np.float32
    assert np.array_equal(out, points.astype(np.float32))


@pytest.mark.parametrize("pattern", [("x_{}", "y_{}"), ("{}_images", "{}_labels")])
def test_named_splits_are_used_as_they_are(tmp_path, pattern):
    arrays = {}
    for size, split in ((8, "train"), (5, "val"), (4, "test")):
        arrays[pattern[0].format(split)] = images(size, 6, 6, 3)
        arrays[pattern[1].format(split)] = rng.integers(7, size=(size, 1))  # a column, as Keras and MedMNIST have it
    arrays[pattern[1].format("test")][0] = 8
    data = ArrayDataModule(save(tmp_path, **arrays))
    assert (data.image_shape, data.num_classes) == ((3, 6, 6), 9)
    for split in ("train", "val", "test"):
        out, labels = everything(data, split)
        assert np.array_equal(out, np.moveaxis(arrays[pattern[0].format(split)], -1, 1))
        assert np.array_equal(labels, arrays[pattern[1].format(split)][:, 0])
        assert labels.dtype == np.int64


def test_a_single_array_is_divided_by_shares(tmp_path):
    array = np.arange(100, dtype=np.uint8)[:, None, None] * np.ones((1, 2, 2), dtype=np.uint8)
    path = save(tmp_path, images=array, labels=np.arange(100))
    parts, again = (
        [
            everything(ArrayDataModule(path, val_share=0.2, test_share=0.1, seed=seed), s)
            for s in ("train", "val", "test")
        ]
        for seed in (0, 1)
    )
    assert [len(x) for x, _ in parts] == [70, 20, 10]
    assert sorted(np.concatenate([y for _, y in parts])) == list(range(100))
    for (x, y), (_, same) in zip(parts, again, strict=True):
        assert np.array_equal(x[:, 0, 0, 0], y)  # labels stay with their images
        assert np.array_equal(y, same)  # whatever the seed
    assert parts[1][1].min() < 50 < parts[1][1].max()  # not the end of a sorted file


@pytest.mark.parametrize(("given", "sizes"), [("test", [18, 2, 5]), ("val", [16, 5, 4]), (None, [14, 2, 4])])
def test_a_missing_split_is_taken_from_the_training_images(tmp_path, given, sizes):
    arrays = {"x_train": images(20, 4, 4), "y_train": np.arange(20)}
    if given:
        arrays |= {f"x_{given}": images(5, 4, 4), f"y_{given}": np.arange(5)}
    data = ArrayDataModule(save(tmp_path, **arrays), val_share=0.1, test_share=0.2)
    assert [len(data.dataset(split)) for split in ("train", "val", "test")] == sizes
    if given:
        assert np.array_equal(everything(data, given)[0], arrays[f"x_{given}"][:, None])


def test_shape_and_classes_come_from_headers_alone(tmp_path, monkeypatch):
    path = save(tmp_path, images=images(20, 4, 4), labels=np.arange(20) % 3)
    read = []
    original = ArrayFile.array
    monkeypatch.setattr(ArrayFile, "array", lambda self, m: read.append(m.key) or original(self, m))
    data = ArrayDataModule(path)
    assert (data.image_shape, data.num_classes) == ((1, 4, 4), 3)
    assert read == ["labels"]
    data.dataset("train")
    assert sorted(read) == ["images", "labels"]


def use(path):
    """Asks for everything a run asks for."""
    data = ArrayDataModule(str(path))
    return data.image_shape, data.num_classes, data.dataset("train")


NAN = np.zeros((20, 2), dtype=np.float32)
NAN[7, 1] = np.nan
FILES = {
    "object": ({"images": np.array([{}, {}])}, "'images' object"),
    "float_images": ({"images": np.zeros((9, 4, 4, 3), dtype=np.float32)}, r"'images' float32 \(9, 4, 4, 3\).*uint8"),
    "integers": ({"images": np.zeros((9, 4), dtype=np.int64)}, r"'images' int64 \(9, 4\).*float \(N, D\)"),
    "channels": ({"images": images(9, 5, 5, 2)}, r"'images' uint8 \(9, 5, 5, 2\): neither.*1, 3 or 4.*layout='NHWC'"),
    "ambiguous": ({"images": images(9, 3, 5, 3)}, "both.*layout="),
    "nan": ({"points": NAN}, r"'points' float32 \(20, 2\).*row 7 is \[0.0, nan\] \(1 such"),
    "overflow": ({"points": np.full((4, 2), 1e300)}, "must be finite, but row 0"),
    "lengths": ({"images": images(9, 4, 4), "labels": np.arange(8)}, r"'labels' int64 \(8,\).*\(9,\).*'images' uint8"),
    "one_hot": ({"images": images(3, 4, 4), "labels": np.eye(3, dtype=int) * 2}, r"'labels' int64 \(3, 3\)"),
    "float_labels": ({"images": images(3, 4, 4), "labels": np.zeros(3)}, "'labels' float64"),
    "negative": ({"images": images(3, 4, 4), "labels": np.array([0, -1, 1])}, "holds -1"),
    "names": ({"pics": images(3, 4, 4), "lat": np.zeros(3)}, "holds pics, lat; accepted are x_train"),
    "no_train": ({"x_test": images(3, 4, 4), "y_test": np.arange(3)}, "holds x_test, y_test"),
    "half": ({"x_train": images(3, 4, 4), "y_train": np.arange(3), "x_test": images(3, 4, 4)}, "not for x_test"),
    "differ": ({"x_train": images(3, 4, 4), "x_test": images(3, 4, 5)}, r"differ.*\(3, 4, 4\).*\(3, 4, 5\)"),
    "empty": ({"images": images(0, 4, 4)}, r"'images' uint8 \(0, 4, 4\) holds no images"),
    "scalar": ({"images": np.array(3.0)}, "holds no images"),
    "few": ({"images": images(2, 4, 4)}, "2 images are too few"),
}


@pytest.mark.parametrize("case", FILES)
def test_bad_arrays_are_named(tmp_path, case):
    arrays, message = FILES[case]
    path = save(tmp_path, f"{case}.npz", **arrays)
    with pytest.raises(ValueError, match=message) as error:
        use(path)
    assert f"{case}.npz" in str(error.value)


def test_bad_files_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"path='missing\.npz'"):
        use("missing.npz")
    good = save(tmp_path, "good.npz", images=images(50, 8, 8))
    content = (tmp_path / "good.npz").read_bytes()
    for name, data in {"cut.npz": content[:100], "zero.npz": b"", "text.npy": b"hello", "x.csv": b"1,2"}.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(ValueError, match=rf"{name}.*(not a readable \.np|accepted are \.npz)"):
            use(tmp_path / name)
    np.save(tmp_path / "short.npy", images(50, 8, 8))
    short = (tmp_path / "short.npy").read_bytes()[:-100]
    (tmp_path / "short.npy").write_bytes(short)
    flipped = bytearray(content)
    flipped[1000] ^= 255
    (tmp_path / "flipped.npz").write_bytes(flipped)
    for name in ("short.npy", "flipped.npz"):
        with pytest.raises(ValueError, match=rf"{name}.*(can't be read|not a readable)"):
            use(tmp_path / name)
    assert use(good)[0] == (1, 8, 8)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"layout": "HWC"}, "layout='HWC'"),
        ({"val_share": -0.1}, "val_share=-0.1"),
        ({"val_share": 0.5, "test_share": 0.5}, "test_share=0.5"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        ArrayDataModule("x.npz", **arguments)


def test_training_batches(tmp_path):
    data = ArrayDataModule(save(tmp_path, images=images(50, 6, 6, 3)), batch_size=8, num_workers=2, flip=True)
    batches = [data.on_after_batch_transfer(batch, 0)[0] for batch in data.train_dataloader()]
    assert [(x.shape, x.dtype) for x in batches] == [((8, 3, 6, 6), torch.float32)] * 5
    assert sum(len(y) for _, y in data.test_dataloader()) == 5
