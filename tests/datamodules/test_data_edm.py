"""Sets as StyleGAN's and EDM's dataset_tool.py write them: stored archives of numbered pictures or arrays."""

import io
import json
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image

from datamodules import ImageFolderDataModule
from datamodules.checking import check
from lit_gen.cli.commands.sources import read_source

rng = np.random.default_rng(0)


def png(array):
    buffer = io.BytesIO()
    Image.fromarray(array.transpose(1, 2, 0).squeeze()).save(buffer, "PNG", compress_level=0, optimize=False)
    return buffer.getvalue()


def npy(array):
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def name_of(i, suffix):
    return f"{i // 8:05d}/img{i:08d}.{suffix}"


def tool(path, arrays, suffix, labels=None):
    """What the tools' open_dest and convert_dataset leave in a .zip or a folder."""
    members = {name_of(i, suffix): (png if suffix == "png" else npy)(array) for i, array in enumerate(arrays)}
    listed = None if labels is None else [[name, label] for name, label in zip(members, labels, strict=True)]
    members["dataset.json"] = json.dumps({"labels": listed}).encode()
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w", compression=zipfile.ZIP_STORED) as archive:
            for name, content in members.items():
                archive.writestr(name, content)
    else:
        for name, content in members.items():
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            (path / name).write_bytes(content)
    return path


def pictures(channels, count=20, side=6):
    return rng.integers(256, size=(count, channels, side, side), dtype=np.uint8)


def module(path, **options):
    return ImageFolderDataModule(path, **{"image_size": 6, "batch_size": 4, "val_share": 0, "test_share": 0, **options})


@pytest.mark.parametrize("suffix", ["png", "npy"])
@pytest.mark.parametrize("place", ["set.zip", "set"])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("labels", [[i % 3 for i in range(20)], None])
def test_pictures_and_labels_come_back(tmp_path, suffix, place, channels, labels):
    arrays = pictures(channels)
    data = module(tool(tmp_path / place, arrays, suffix, labels), channels=channels)
    images, found = data.dataset("train").__getitems__(list(range(20)))
    assert np.array_equal(images.numpy(), arrays)
    assert data.class_names == (() if labels is None else ("0", "1", "2"))
    assert found.tolist() == ([0] * 20 if labels is None else labels)
    assert "grey" in data.summary().line() if channels == 1 else "RGB" in data.summary().line()
    assert data.summary().found.left_out == {}
    read = read_source(str(tmp_path / place), "test", "uint8", None)
    assert read.image_shape == (channels, 6, 6)
    assert torch.equal(read.dataset("").__getitems__([3])[0], images[3:4])


def test_arrays_turn_grey_or_coloured_like_pictures_and_workers_and_caches_give_the_same(tmp_path):
    arrays = pictures(3)
    path = tool(tmp_path / "set.zip", arrays, "npy")
    grey = module(path, channels=1).dataset("train")[0][0]
    assert torch.equal(grey, module(tool(tmp_path / "png.zip", arrays, "png"), channels=1).dataset("train")[0][0])
    expected = list(module(path, seed=0).train_dataloader())
    for options in ({"num_workers": 2}, {"cache": "ram"}):
        given = list(module(path, seed=0, **options).train_dataloader())
        assert all(torch.equal(a, b) for x, y in zip(expected, given, strict=True) for a, b in zip(x, y, strict=True))


@pytest.mark.parametrize(
    ("array", "said"),
    [
        (np.zeros((4, 6, 6), np.uint8), r"uint8 \(4, 6, 6\); arrays are uint8 \(C, H, W\) of 1 or 3"),
        (np.zeros((6, 6), np.uint8), r"uint8 \(6, 6\); arrays"),
        (np.zeros((3, 6, 6), np.float32), r"float32 \(3, 6, 6\); arrays"),
        (np.zeros((3, 6, 8), np.uint8), r"an array of 6 x 8, not 6 x 6; arrays aren't scaled"),
        (np.array([{}], dtype=object), "not a readable image"),
    ],
)
def test_other_arrays_are_refused_by_name(tmp_path, array, said):
    path = tool(tmp_path / "set.zip", [*pictures(3, 3), array], "npy")
    with pytest.raises(ValueError, match=rf"set.zip/00000/img00000003.npy: .*{said}") as error:
        module(path).dataset("train").__getitems__([3])
    assert "\n" not in str(error.value)
    assert len(check(module(path)).found.errors) == 1


def test_damage_and_labels_of_nothing_are_told_in_a_line(tmp_path):
    path = tool(tmp_path / "set.zip", pictures(1), "npy", [0] * 20)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match=r"set.zip: not a readable .zip file") as error:
        module(path).class_names  # noqa: B018
    assert "\n" not in str(error.value)
    damaged = bytearray(content)
    at = content.index(b"\x93NUMPY")
    damaged[at + 150] ^= 255  # a pixel, which the member's checksum tells
    path.write_bytes(damaged)
    with pytest.raises(ValueError, match=r"set.zip/00000/img00000000.npy: .*CRC"):
        module(path, channels=1).dataset("train").__getitems__([0])
    folder = tool(tmp_path / "set", pictures(1), "npy", [0] * 20)
    (folder / name_of(7, "npy")).unlink()
    assert any("00000/img00000007.npy" in text for text in module(folder, channels=1).summary().warnings)
    labels = json.loads((folder / "dataset.json").read_text())["labels"][1:]
    (folder / "dataset.json").write_text(json.dumps({"labels": labels}))
    with pytest.raises(ValueError, match=r"dataset.json: no label of 00000/img00000000.npy"):
        module(folder, channels=1).dataset("train")


def test_arrays_beside_pictures_are_no_pictures(tmp_path):
    folder = tool(tmp_path / "set", pictures(3), "png")
    np.save(folder / "features.npy", np.zeros((20, 8)))
    assert module(folder).summary().found.left_out == {".npy": 1}
