"""Arrays in HDF5, .mat and .pt files: the same images, labels and splits as of an .npz, and clear errors."""

import os
import pickle
import re

import numpy as np
import pytest
import scipy.io
import torch

from datamodules import ArrayDataModule
from datamodules.array_file import ArrayFile
from datamodules.checking import check
from datamodules.formats.axes import arranged, axes_of
from datamodules.formats.containers import Member
from datamodules.formats.hdf5 import HDF5
from datamodules.formats.row_images import RowImages
from datamodules.loader import ShuffledSampler

h5py = pytest.importorskip("h5py", reason="needs h5py: pip install 'lit-gen[hdf5]'")

rng = np.random.default_rng(0)
IMAGES = rng.integers(256, size=(60, 5, 7, 3), dtype=np.uint8)
LABELS = np.arange(60) % 4


def write_h5(path, **arrays):
    with h5py.File(path, "w") as file:
        for name, (array, options) in {k: v if isinstance(v, tuple) else (v, {}) for k, v in arrays.items()}.items():
            file.create_dataset(name, data=array, **options)
    return str(path)


def write_mat73(path, **arrays):
    """As MATLAB does: a block of 512 bytes before the HDF5, axes in the other order, the class as an attribute."""
    with h5py.File(path, "w", userblock_size=512) as file:
        for name, array in arrays.items():
            stored = file.create_dataset(name, data=array.T, chunks=True, compression="gzip")
            stored.attrs["MATLAB_class"] = np.bytes_({"float64": "double"}.get(str(array.dtype), str(array.dtype)))
        file.create_group("#refs#").create_dataset("a", data=np.zeros(3))
    with open(path, "r+b") as file:
        file.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(512))
    return str(path)


def write(path, kind):
    """Images and labels in a file of this kind; vectors as the format has them."""
    if kind == "h5":
        return write_h5(path, imgs=(IMAGES, {"chunks": (8, 5, 7, 3), "compression": "gzip"}), labels=LABELS)
    if kind == "mat":
        scipy.io.savemat(path, {"X": IMAGES.transpose(1, 2, 3, 0), "y": LABELS[:, None].astype(float)})
    elif kind == "mat73":
        write_mat73(path, X=IMAGES.transpose(1, 2, 3, 0), y=LABELS[:, None].astype(float))
    else:
        torch.save((torch.from_numpy(IMAGES).permute(0, 3, 1, 2), torch.from_numpy(LABELS)), path)
    return str(path)


KINDS = {"h5": "x.h5", "mat": "x.mat", "mat73": "x73.mat", "pt": "x.pt"}
every_kind = pytest.mark.parametrize("kind", KINDS)


def content(data, split):
    dataset = data.dataset(split)
    images, labels = dataset.__getitems__(list(range(len(dataset))))
    return images.numpy(), labels.numpy()


@every_kind
def test_every_format_gives_what_an_npz_gives(tmp_path, kind):
    np.savez(tmp_path / "x.npz", images=IMAGES, labels=LABELS)
    expected, data = ArrayDataModule(tmp_path / "x.npz"), ArrayDataModule(write(tmp_path / KINDS[kind], kind))
    assert (data.image_shape, data.num_classes) == (expected.image_shape, expected.num_classes) == ((3, 5, 7), 4)
    for split in ("train", "val", "test"):
        for found, wanted in zip(content(data, split), content(expected, split), strict=True):
            assert found.dtype == wanted.dtype
            assert np.array_equal(found, wanted)
    line = data.summary().line().partition(":")[2]
    assert line == expected.summary().line().partition(":")[2]


@every_kind
def test_formats_read_in_workers_and_by_rows_in_the_order_asked_for(tmp_path, kind):
    data = ArrayDataModule(write(tmp_path / KINDS[kind], kind), batch_size=6, num_workers=2, val_share=0, test_share=0)
    assert np.array_equal(data.dataset("train").__getitems__([3])[0][0].permute(1, 2, 0), IMAGES[3])  # open before
    seen = torch.cat([images for images, _ in data.train_dataloader()])
    assert sorted(map(bytes, seen.permute(0, 2, 3, 1).numpy())) == sorted(map(bytes, IMAGES))
    wanted = [7, 2, 2, 59, 8]
    images, labels = data.dataset("train").__getitems__(wanted)
    assert np.array_equal(images.permute(0, 2, 3, 1), IMAGES[wanted])
    assert labels.tolist() == LABELS[wanted].tolist()


def test_images_of_hdf5_are_not_read_into_memory(tmp_path, monkeypatch):
    path = write(tmp_path / "x.h5", "h5")
    read, original = [], HDF5.array
    monkeypatch.setattr(HDF5, "array", lambda self, member: read.append(member.key) or original(self, member))
    data = ArrayDataModule(path, batch_size=8)
    next(iter(data.train_dataloader()))
    data.summary()
    assert isinstance(data.dataset("train"), RowImages)
    assert set(read) == {"labels"}
    whole = ArrayDataModule(path, lazy=False)
    assert np.array_equal(content(whole, "train")[0], content(data, "train")[0])
    assert "imgs" in read


def test_an_open_file_is_neither_pickled_nor_shared(tmp_path):
    container = HDF5(write(tmp_path / "x.h5", "h5"))
    member = container.headers()["imgs"]
    again = pickle.loads(pickle.dumps(container))
    assert again._handles._value is None
    assert np.array_equal(again.rows(member, 0, np.array([1, 2, 5])), IMAGES[[1, 2, 5]])
    assert len(again.rows(member, 0, np.zeros(0, dtype=int))) == 0
    child = os.fork()
    if child == 0:  # the parent's handle was closed before
        os._exit(0 if container._handles._value is None else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert np.array_equal(container.rows(member, 0, np.array([3])), IMAGES[[3]])


def test_chunks_are_visited_together_and_each_image_once(tmp_path, monkeypatch):
    monkeypatch.setattr("datamodules.formats.row_images.CACHE", 24 * IMAGES[0].nbytes)  # three chunks of eight
    path = write(tmp_path / "x.h5", "h5")
    data = ArrayDataModule(path, batch_size=4, val_share=0, test_share=0, seed=0)
    order = [list(iter(sampler)) for sampler in (data.train_dataloader().sampler for _ in range(2))]
    assert order[0] == order[1]
    assert sorted(order[0]) == list(range(60))
    assert len({i // 8 for i in order[0][:16]}) <= 3  # a window is of 16 images
    assert order[0][:16] != sorted(order[0][:16])
    whole = write_h5(tmp_path / "contiguous.h5", images=IMAGES)
    plain = ArrayDataModule(whole, batch_size=4).train_dataloader().sampler
    assert type(plain) is ShuffledSampler


def test_groups_words_and_usual_names(tmp_path):
    arrays = {"train/images": IMAGES, "train/labels": LABELS, "valid/images": IMAGES[:9], "valid/labels": LABELS[:9]}
    data = ArrayDataModule(write_h5(tmp_path / "x.hdf5", **arrays, class_names=np.array(list("abcd"), dtype="S")))
    assert [len(data.dataset(split)) for split in ("train", "val", "test")] == [54, 9, 6]
    assert data.class_names == ("a", "b", "c", "d")
    torch.save(
        {"train": {"images": torch.from_numpy(IMAGES), "labels": torch.from_numpy(LABELS)}, "class_names": ["x"] * 4},
        tmp_path / "x.pt",
    )
    with pytest.raises(ValueError, match=r"x\.pt: class_names: 'x' names 4 classes"):
        ArrayDataModule(tmp_path / "x.pt").num_classes  # noqa: B018
    torch.save(torch.from_numpy(IMAGES), tmp_path / "one.pth")
    assert ArrayDataModule(tmp_path / "one.pth").num_classes == 0
    torch.save({"data": torch.from_numpy(IMAGES), "targets": torch.from_numpy(LABELS)}, tmp_path / "x.pt")
    assert ArrayDataModule(tmp_path / "x.pt").num_classes == 4


def test_former_files_of_torch_and_points(tmp_path):
    torch.save((torch.from_numpy(IMAGES[..., 0]), torch.from_numpy(LABELS)), tmp_path / "training.pt")
    old = tmp_path / "old.pt"
    torch.save((torch.from_numpy(IMAGES[..., 0]), torch.from_numpy(LABELS)), old, _use_new_zipfile_serialization=False)
    images = [content(ArrayDataModule(path), "train")[0] for path in (tmp_path / "training.pt", old)]
    assert images[0].shape == (48, 1, 5, 7)
    assert np.array_equal(*images)
    points = rng.normal(size=(30, 2))
    assert ArrayDataModule(write_h5(tmp_path / "p.h5", points=points)).image_shape == (2,)
    torch.save(torch.from_numpy(points).to(torch.bfloat16), tmp_path / "b.pt")
    expected = torch.from_numpy(points).to(torch.bfloat16).float().numpy()
    assert np.array_equal(content(ArrayDataModule(tmp_path / "b.pt", val_share=0, test_share=0), "train")[0], expected)


@pytest.mark.parametrize("kind", ["mat", "mat73"])
def test_the_label_10_of_svhn_is_the_digit_0(tmp_path, kind):
    images, labels = rng.integers(256, size=(40, 32, 32, 3), dtype=np.uint8), np.arange(40) % 10 + 1
    arrays = {"X": images.transpose(1, 2, 3, 0), "y": labels[:, None].astype(np.uint8)}
    path = tmp_path / "train_32x32.mat"
    scipy.io.savemat(path, arrays) if kind == "mat" else write_mat73(path, **arrays)
    data = ArrayDataModule(path, val_share=0, test_share=0)
    assert data.image_shape == (3, 32, 32)
    found, digits = content(data, "train")
    assert np.array_equal(found, images.transpose(0, 3, 1, 2))
    assert digits.tolist() == (labels % 10).tolist()
    assert data.num_classes == 10
    assert "10 is read as the digit 0" in " ".join(data.summary().warnings)


def test_images_of_matlab_have_the_last_axis_for_n(tmp_path):
    scipy.io.savemat(tmp_path / "x.mat", {"images": IMAGES[..., 0].transpose(1, 2, 0), "labels": LABELS + 1.0})
    data = ArrayDataModule(tmp_path / "x.mat", val_share=0, test_share=0)
    images, labels = content(data, "train")  # by the number of labels
    assert np.array_equal(images[:, 0], IMAGES[..., 0])
    assert labels.tolist() == (LABELS + 1).tolist()
    scipy.io.savemat(tmp_path / "y.mat", {"images": IMAGES[..., 0].transpose(1, 2, 0) / 255})
    data = ArrayDataModule(tmp_path / "y.mat", layout="HWCN", white=1.0, val_share=0, test_share=0)
    assert np.array_equal(content(data, "train")[0][:, 0], IMAGES[..., 0])


def write_cells(path, kind, cells):
    """Images of MATLAB, square and as many as a side, beside a cell array of words."""
    images = np.arange(4 * 4 * 5, dtype=np.uint8).reshape(4, 4, 5)
    if kind == "mat":
        scipy.io.savemat(path, {"images": images, "labels": np.array(cells, dtype=object)})
        return images
    write_mat73(path, images=images)
    with h5py.File(path, "a") as file:
        stored = file.create_dataset("labels", (len(cells), 1), h5py.ref_dtype)
        stored.attrs["MATLAB_class"] = np.bytes_("cell")
        for i, cell in enumerate(cells):
            word = isinstance(cell, str)
            values = np.array([[ord(letter)] for letter in cell], np.uint16) if word else np.array([[cell]])
            inner = file.create_dataset(f"#refs#/{i}", data=values if cell else np.zeros(2, np.uint64))
            inner.attrs["MATLAB_class"] = np.bytes_("char" if word else "double")
            if not cell:
                inner.attrs["MATLAB_empty"] = np.uint8(1)
            stored[i, 0] = inner.ref
    return images


@pytest.mark.parametrize("kind", ["mat", "mat73"])
def test_words_in_cells_of_matlab_are_labels(tmp_path, kind):
    images = write_cells(tmp_path / "x.mat", kind, ["sea lion", "cat", "cat", "sea lion", "owl"])
    data = ArrayDataModule(tmp_path / "x.mat", val_share=0, test_share=0)
    found, labels = content(data, "train")  # their number says which axis counts the images
    assert np.array_equal(found[:, 0], images.transpose(2, 0, 1))
    assert [data.class_names[label] for label in labels] == ["sea lion", "cat", "cat", "sea lion", "owl"]


@pytest.mark.parametrize("kind", ["mat", "mat73"])
@pytest.mark.parametrize("cell", ["", 3.0])
def test_cells_that_hold_no_words_are_no_labels(tmp_path, kind, cell):
    write_cells(tmp_path / "x.mat", kind, ["cat", "owl", cell, "cat", "owl"])
    with pytest.raises(ValueError, match=r"x\.mat: 'labels' <U0 \(5,\) can't be read: cell 2 holds no word"):
        ArrayDataModule(tmp_path / "x.mat", val_share=0, test_share=0).read()


@pytest.mark.parametrize(
    ("shape", "layout", "count", "expected"),
    [
        ((9, 5, 6, 3), "auto", None, (0, 3, 1, 2)),
        ((9, 3, 5, 6), "auto", 9, (0, 1, 2, 3)),
        ((6, 5, 3, 9), "auto", None, (3, 2, 0, 1)),
        ((4, 4, 3, 9), "auto", 9, (3, 2, 0, 1)),
        ((3, 3, 3, 3), "HWCN", None, (3, 2, 0, 1)),
        ((6, 5, 9), "auto", 9, (2, 0, 1)),
        ((9, 5, 6), "auto", 9, (0, 1, 2)),
        ((2, 9), "HWCN", None, (1, 0)),
    ],
)
def test_axes(shape, layout, count, expected):
    assert axes_of(Member("x", shape, np.dtype(np.uint8)), layout, count, "file") == expected


@pytest.mark.parametrize("axes", [(0, 1, 2, 3), (0, 3, 1, 2), (3, 2, 0, 1), (1, 0, 2, 3)])
def test_arranging_changes_no_value_and_stays_in_place_where_images_lie_together(axes):
    for order in "CF":
        array = np.array(rng.integers(256, size=(4, 5, 6, 3), dtype=np.uint8), order=order)
        view, expected = array.transpose(axes), array.transpose(axes).copy()
        found = arranged(view)
        assert found.flags.c_contiguous
        assert np.array_equal(found, expected)
        if (order, axes) in (("C", (0, 3, 1, 2)), ("F", (3, 2, 0, 1))):
            assert np.shares_memory(found, array)


def test_values_above_white_are_named_wherever_they_lie(tmp_path):
    images = np.zeros((3000, 2, 2), dtype=np.uint16)
    images[1501] = 5000
    path = write_h5(tmp_path / "x.h5", images=images)
    data = ArrayDataModule(path, white=4095, val_share=0, test_share=0)
    data.summary()  # looks at some
    with pytest.raises(ValueError, match=r"x\.h5: 'images' uint16 \(3000, 2, 2\): values 0\.\.5000 outside 0\.\.4095"):
        data.dataset("train").__getitems__([1500, 1501])
    with pytest.raises(ValueError, match=r"x\.h5: 'images' .* holds values 0\.\.5000"):
        check(data)
    assert int(content(ArrayDataModule(path, white=5000, val_share=0, test_share=0), "train")[0].max()) == 255


class Unsafe:
    def __reduce__(self):
        return os.getcwd, ()


def damaged(folder):
    """Files that are cut, changed or of another kind, each with what is said of it."""
    for kind, name in KINDS.items():
        write(folder / name, kind)
        content = (folder / name).read_bytes()
        for place, part in {"cut": content[: len(content) * 2 // 3], "text": b"no arrays " * 90, "empty": b""}.items():
            (folder / f"{place}_{name}").write_bytes(part)
            yield folder / f"{place}_{name}", "not a readable|can't be read"
    chunk = bytearray((folder / "x.h5").read_bytes())
    with h5py.File(folder / "x.h5") as file:
        start = file["imgs"].id.get_chunk_info(3).byte_offset
    chunk[start : start + 100] = bytes(100)
    (folder / "chunk.h5").write_bytes(chunk)
    yield folder / "chunk.h5", "not a readable|can't be read"
    torch.save({"images": torch.zeros(9, 4, 4, dtype=torch.uint8), "more": Unsafe()}, folder / "unsafe.pt")
    yield folder / "unsafe.pt", "holds more than tensors, lists and words, which is not unpickled"
    torch.save({"epoch": 3}, folder / "nothing.pt")
    yield folder / "nothing.pt", "holds no tensors"


def test_damaged_files_are_named_in_one_line(tmp_path):
    for path, message in damaged(tmp_path):
        with pytest.raises(ValueError, match=message) as error:
            list(ArrayDataModule(path, batch_size=8).train_dataloader())
        assert path.name in str(error.value)
        assert "\n" not in str(error.value)


WRONG = {
    "names": ({"pictures": IMAGES, "latents": np.zeros(3)}, r"holds latents, pictures; accepted are x_train"),
    "lengths": ({"images": IMAGES, "labels": LABELS[:-1]}, r"'labels' int64 \(59,\).*\(60,\).*of 'images' uint8"),
    "negative": ({"images": IMAGES, "labels": LABELS - 1}, "'labels' int64.*holds -1; labels count from 0"),
    "words": ({"images": IMAGES, "labels": np.array(["a"] * 60, dtype="S"), "class_names": np.zeros(3)}, None),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_arrays_are_named(tmp_path, case):
    arrays, message = WRONG[case]
    data = ArrayDataModule(write_h5(tmp_path / "x.h5", **arrays))
    if message is None:
        assert data.class_names == ("a",)
        assert data.left_out == {"array 'class_names'": 1}
        return
    with pytest.raises(ValueError, match=message) as error:
        data.train_dataloader()
    assert "x.h5" in str(error.value)


def test_an_hdf5_file_without_h5py_names_the_extra(tmp_path, monkeypatch):
    path = write(tmp_path / "x.h5", "h5")
    monkeypatch.setitem(__import__("sys").modules, "h5py", None)
    with pytest.raises(ValueError, match=re.escape("x.h5: needs the package h5py: pip install 'lit-gen[hdf5]'")):
        ArrayFile(path)
