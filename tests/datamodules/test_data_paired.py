"""Counterparts: found by name, side by side, or by position; cropped, mirrored and split alike."""

import zipfile

import numpy as np
import pytest
import torch
from PIL import Image

from datamodules import (
    ArrayDataModule,
    DigitsDataModule,
    GreyToColourDataModule,
    ImageFolderDataModule,
    PairedDataModule,
    UnpairedDataModule,
)
from datamodules.colourising import Grey
from datamodules.datasets import InMemoryDataset
from datamodules.recoloured import RecolouredDigitsDataModule, recolour

SIDE = 6


def picture(seed, channels=3, size=(SIDE, SIDE)):
    shape = size if channels == 1 else (*size, channels)
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def folders(root, count=20, suffixes=("png", "bmp")):
    """Two folders; the image of b is the negative of that of a."""
    for i in range(count):
        for side, suffix in zip("ab", suffixes, strict=True):
            path = root / side / f"x{i % 3}" / f"{i}.{suffix}"
            path.parent.mkdir(parents=True, exist_ok=True)
            pixels = picture(i)
            Image.fromarray(pixels if side == "a" else 255 - pixels).save(path)
    return {"a": str(root / "a"), "b": str(root / "b"), "image_size": SIDE}


def joined_pictures(root, count=20):
    root.mkdir()
    for i in range(count):
        Image.fromarray(np.concatenate([picture(i), 255 - picture(i)], axis=1)).save(root / f"{i}.png")
    return {"a": str(root), "image_size": SIDE}


def arrays(root, count=20):
    images = np.stack([picture(i) for i in range(count)])
    np.save(root / "a.npy", images)
    np.save(root / "b.npy", 255 - images)
    return {"a": str(root / "a.npy"), "b": str(root / "b.npy")}


def one_array_file(root, count=20):
    images = np.stack([picture(i) for i in range(count)])
    np.savez(root / "both.npz", imagesA=images, imagesB=255 - images)
    return {"a": str(root / "both.npz")}


def zipped(root):
    options = folders(root)
    for side in "ab":
        with zipfile.ZipFile(root / f"{side}.zip", "w") as archive:
            for path in sorted((root / side).rglob("*.*")):
                archive.write(path, path.relative_to(root / side))
        options[side] = str(root / f"{side}.zip")
    return options


MAKERS = [folders, zipped, lambda root: joined_pictures(root / "joined"), arrays, one_array_file]
NAMES = ["folders", "zips", "side by side", "two arrays", "one file of arrays"]


@pytest.mark.parametrize("make", MAKERS, ids=NAMES)
def test_every_image_of_b_is_the_counterpart_of_that_of_a(make, tmp_path):
    data = PairedDataModule(**make(tmp_path), batch_size=4)
    assert data.image_shape == data.target_shape == (3, SIDE, SIDE)
    assert {split: len(data.dataset(split)) for split in ("train", "val", "test")} == {"train": 16, "val": 2, "test": 2}
    seen = []
    for split in ("train", "val", "test"):
        images = data.dataset(split).__getitems__(list(range(len(data.dataset(split)))))
        assert torch.equal(images["a"][0], 255 - images["b"][0])
        seen += [image.numpy().tobytes() for image in images["a"][0]]
    assert sorted(seen) == sorted(picture(i).transpose(2, 0, 1).tobytes() for i in range(20))


@pytest.mark.parametrize("make", MAKERS[:4], ids=NAMES[:4])
def test_pairs_are_cropped_and_mirrored_alike_and_stay_together(make, tmp_path):
    data = PairedDataModule(**make(tmp_path), batch_size=4, load_size=SIDE + 3, flip=True)
    batches = [data.on_after_batch_transfer(batch, 0) for batch in data.train_dataloader()]
    a, b = (torch.cat([batch[side][0] for batch in batches]) for side in "ab")
    assert len(a) == 16
    torch.testing.assert_close(a, -b, atol=1e-5, rtol=0)
    plain = data.to_float(data.dataset("train").__getitems__(list(range(16)))["a"][0])
    assert not any(torch.allclose(x, y, atol=0.05) for x in a for y in plain), "nothing was cropped"


def test_grey_and_colour_and_the_other_side(tmp_path):
    options = joined_pictures(tmp_path / "joined")
    data = PairedDataModule(**options, left="b", channels_a=1, batch_size=4)
    assert (data.image_shape, data.target_shape) == ((1, SIDE, SIDE), (3, SIDE, SIDE))
    batch = next(iter(data.train_dataloader()))
    assert batch["a"][0].shape == (4, 1, SIDE, SIDE)
    assert batch["b"][0].shape == (4, 3, SIDE, SIDE)
    grey = Image.fromarray((255 - batch["b"][0][0]).permute(1, 2, 0).numpy()).convert("L")
    assert np.array_equal(batch["a"][0][0, 0].numpy(), np.asarray(grey))


def test_folders_of_splits(tmp_path):
    for split, count in (("train", 5), ("val", 2), ("test", 3)):
        folders(tmp_path / split, count)
        for side in "ab":
            target = tmp_path / "sides" / side / split
            target.parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / split / side).rename(target)
    data = PairedDataModule(str(tmp_path / "sides/a"), str(tmp_path / "sides/b"), image_size=SIDE, batch_size=2)
    assert [len(data.dataset(split)) for split in ("train", "val", "test")] == [5, 2, 3]


def test_the_order_of_an_epoch_shows_every_pair_once(tmp_path):
    data = RecolouredDigitsDataModule(pairs=True, batch_size=64)
    assert len(data.dataset("train").a) == len(data.dataset("train").b) == 1197
    batch = next(iter(data.train_dataloader()))
    true = recolour(batch["a"][0][:, :1].double() / 255) * 255
    assert (batch["b"][0] - true).abs().max() <= 0.5001


def test_grey_versions_are_those_of_pillow():
    pixels = picture(0, size=(50, 60))
    images = InMemoryDataset(torch.from_numpy(pixels).permute(2, 0, 1)[None])
    grey = Grey(images).__getitems__([0])[0]
    assert np.array_equal(grey[0, 0].numpy(), np.asarray(Image.fromarray(pixels).convert("L")))


def test_colouring_takes_the_splits_and_classes_of_its_images(tmp_path):
    np.savez(tmp_path / "c.npz", images=np.stack([picture(i) for i in range(20)]), labels=np.arange(20) % 2)
    data = GreyToColourDataModule(ArrayDataModule(str(tmp_path / "c.npz")), batch_size=4)
    assert (data.image_shape, data.target_shape, data.num_classes) == ((1, SIDE, SIDE), (3, SIDE, SIDE), 2)
    batch = next(iter(data.train_dataloader()))
    assert torch.equal(Grey(InMemoryDataset(batch["b"][0])).__getitems__([0, 1, 2, 3])[0], batch["a"][0])
    with pytest.raises(ValueError, match=r"images.image_shape=\(1, 8, 8\): colour images"):
        GreyToColourDataModule(DigitsDataModule())


def without(path):
    return lambda root: (root / path).unlink()


def other_size(root):
    Image.fromarray(picture(0, size=(6, 9))).save(root / "b/x0/0.bmp")


def two_of_one_name(root):
    Image.fromarray(picture(0)).save(root / "b/x0/0.png")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (without("a/x0/0.png"), "b: x0/0.bmp without a file of that name in .*a$"),
        (without("b/x1/1.bmp"), "a: x1/1.png without a file of that name in .*b$"),
        (other_size, r"0.png is 6 x 6 and .*0.bmp is 9 x 6: counterparts must have one ratio"),
        (two_of_one_name, "x0/0.bmp and x0/0.png have one name but for the suffix"),
    ],
)
def test_files_without_a_counterpart_are_named(spoil, message, tmp_path):
    options = folders(tmp_path)
    spoil(tmp_path)
    with pytest.raises(ValueError, match=message) as error:
        PairedDataModule(**options).dataset("train")
    assert "\n" not in str(error.value)


def test_what_may_not_be_given(tmp_path):
    options, files = folders(tmp_path), arrays(tmp_path)
    for given, message in (
        ({**options, "left": "c"}, "left='c'"),
        ({**options, "channels_b": 2}, "channels_b=2"),
        ({**options, "b": files["b"]}, "two files of arrays, or two folders"),
        ({**files, "image_size": 8}, "image_size=8: arrays have the size"),
        ({**files, "channels_b": 1}, "channels_b=1: arrays have their own, 3 here"),
        ({**options, "left": "b"}, "left='b': of pictures side by side, but b="),
    ):
        with pytest.raises(ValueError, match=message):
            PairedDataModule(**given)
    for name in "ab":
        with pytest.raises(FileNotFoundError, match=f"{name}: there is no file or folder 'nowhere'"):
            PairedDataModule(**{**options, name: "nowhere"})
    np.save(tmp_path / "b.npy", np.stack([picture(i) for i in range(19)]))
    with pytest.raises(ValueError, match=r"paired=True: .* has 16 and 15 images in the split train"):
        PairedDataModule(**files).dataset("train")
    Image.fromarray(picture(0, size=(6, 7))).save(tmp_path / "odd.png")
    joined_pictures(tmp_path / "joined")
    (tmp_path / "odd.png").rename(tmp_path / "joined/0.png")
    data = PairedDataModule(str(tmp_path / "joined"), image_size=SIDE, val_share=0, test_share=0)
    with pytest.raises(ValueError, match=r"0.png: not a readable image: 7 pixels wide"):
        data.dataset("train").__getitems__(list(range(20)))


def test_a_portrait_is_no_counterpart_of_a_landscape(tmp_path):
    options = {**folders(tmp_path), "image_size": 4}
    for side, size in (("a/x0/0.png", (6, 9)), ("b/x0/0.bmp", (9, 6))):
        Image.fromarray(picture(0, size=size)).save(tmp_path / side)
    with pytest.raises(ValueError, match=r"0\.png is 9 x 6 and .*0\.bmp is 6 x 9: counterparts must have one ratio"):
        PairedDataModule(**options).dataset("train")


@pytest.mark.parametrize("turned", [True, False])
def test_ratios_are_those_of_pictures_as_they_are_shown(tmp_path, turned):
    options = {**folders(tmp_path, suffixes=("jpg", "png")), "image_size": 4}
    tags = Image.Exif()
    tags[274] = 6 if turned else 1  # lies on its side
    Image.fromarray(picture(0, size=(6, 9))).save(tmp_path / "a/x0/0.jpg", exif=tags)
    Image.fromarray(picture(0, size=(9, 6))).save(tmp_path / "b/x0/0.png")
    if turned:
        assert len(PairedDataModule(**options).dataset("train").a) == 16
    else:
        with pytest.raises(ValueError, match="one ratio of width to height"):
            PairedDataModule(**options).dataset("train")


def test_a_folder_of_single_pictures_is_not_halved_without_a_word(tmp_path, recwarn):
    PairedDataModule(**joined_pictures(tmp_path / "pairs")).dataset("train")
    assert not [warning for warning in recwarn if "half" in str(warning.message)]
    single = folders(tmp_path)
    with pytest.warns(UserWarning, match=r"b is not given.*left and a right half, and .*\.png is 6 x 6; give b"):
        PairedDataModule(a=single["a"], image_size=SIDE).dataset("train")


def test_data_are_named_by_folders_and_files_without_suffix(tmp_path):
    options = folders(tmp_path)
    assert PairedDataModule(**options).name == "a2b"
    for side in "ab":
        with zipfile.ZipFile(tmp_path / f"p{side}.zip", "w") as archive:
            for path in (tmp_path / side).rglob("*.*"):
                archive.write(path, path.relative_to(tmp_path / side))
    zips = {side: str(tmp_path / f"p{side}.zip") for side in "ab"}
    assert PairedDataModule(**zips, image_size=SIDE).name == "pa2pb"
    parts = [ImageFolderDataModule(path, SIDE) for path in zips.values()]
    assert UnpairedDataModule(*parts).name == "pa2pb"
    np.savez(tmp_path / "one.npz", imagesA=np.stack([picture(0)] * 4), imagesB=np.stack([picture(1)] * 4))
    assert PairedDataModule(str(tmp_path / "one.npz")).name == "one"
