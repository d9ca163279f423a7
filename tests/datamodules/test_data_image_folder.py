import itertools
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from datamodules import ImageFolderDataModule
from datamodules.image_files import EXTENSIONS, Names, decode, find_images

rng = np.random.default_rng(0)


def picture(path, height=8, width=8, mode="RGB", **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = (height, width) if mode == "L" else (height, width, len(mode))
    Image.fromarray(rng.integers(256, size=shape, dtype=np.uint8), mode=None).save(path, **options)


def names(data, split):
    return [path.rsplit("/", 1)[1] for path in data.dataset(split).paths]


def test_a_flat_folder_has_no_labels_and_a_fixed_split(tmp_path):
    for i in range(40):
        picture(tmp_path / "flat" / f"{i:02}.png")
    data, other = (ImageFolderDataModule(str(tmp_path / "flat"), image_size=4, seed=s, val_share=0.25) for s in (0, 1))
    assert (data.name, data.image_shape, data.num_classes) == ("flat", (3, 4, 4), 0)
    splits = [names(data, s) for s in ("train", "val", "test")]
    assert [len(s) for s in splits] == [26, 10, 4]
    assert sorted(sum(splits, [])) == [f"{i:02}.png" for i in range(40)]  # noqa: RUF017
    assert splits == [names(other, s) for s in ("train", "val", "test")]
    assert all(s == sorted(s) for s in splits)
    assert splits[1] != [f"{i:02}.png" for i in range(30, 40)]
    images, labels = data.dataset("val").__getitems__([3, 0])
    assert (images.shape, images.dtype) == ((2, 3, 4, 4), torch.uint8)
    assert labels.tolist() == [0, 0]
    assert torch.equal(images[1], data.dataset("val")[0][0])


def test_folders_right_under_root_are_the_classes(tmp_path):
    for i in range(10):
        picture(tmp_path / "dog" / f"{i}.png")
        picture(tmp_path / "cat" / "deep" / f"{i}.JPG")
    (tmp_path / "dog" / "notes.txt").write_text("not an image")
    (tmp_path / "dog" / "._0.png").write_bytes(b"hidden")
    (tmp_path / ".cache").mkdir()
    (tmp_path / ".cache" / "0.png").write_bytes(b"hidden")
    data = ImageFolderDataModule(str(tmp_path), image_size=4)
    assert (data.classes, data.num_classes) == (["cat", "dog"], 2)
    for split, size in (("train", 16), ("val", 2), ("test", 2)):
        dataset = data.dataset(split)
        assert len(dataset) == size
        assert [("/cat/" in path, "/dog/" in path) for path in dataset.paths] == [
            (y == 0, y == 1) for y in dataset.labels.tolist()
        ]


def test_a_single_folder_means_no_classes_and_an_image_beside_class_folders_is_an_error(tmp_path):
    for i in range(5):
        picture(tmp_path / "celebrities" / f"{i}.png")
    assert ImageFolderDataModule(str(tmp_path)).num_classes == 0
    picture(tmp_path / "others" / "0.png")
    assert ImageFolderDataModule(str(tmp_path)).num_classes == 2
    picture(tmp_path / "0.png")
    with pytest.raises(ValueError, match=r"0\.png lies? beside the folders of the 2 classes; .*labels='none'"):
        ImageFolderDataModule(str(tmp_path)).num_classes  # noqa: B018
    assert ImageFolderDataModule(str(tmp_path), labels="none").num_classes == 0


def test_folders_train_val_and_test_are_the_splits(tmp_path):
    for split, size in (("train", 10), ("val", 3)):
        for i in range(size):
            picture(tmp_path / split / "ab"[i % 2] / f"{split}{i}.png")
    data = ImageFolderDataModule(str(tmp_path), image_size=4, test_share=0.2)
    assert data.classes == ["a", "b"]
    assert sorted(names(data, "val")) == ["val0.png", "val1.png", "val2.png"]
    train, test = names(data, "train"), names(data, "test")
    assert len(test) == 2
    assert sorted(train + test) == [f"train{i}.png" for i in range(10)]


def test_train_may_be_a_class(tmp_path):
    for name in ("bus", "train"):
        for i in range(3):
            picture(tmp_path / name / f"{i}.png")
    assert ImageFolderDataModule(str(tmp_path)).classes == ["bus", "train"]


@pytest.mark.parametrize("extension", EXTENSIONS)
def test_every_extension_is_read(tmp_path, extension):
    path = tmp_path / f"x{extension}"
    Image.new("RGB", (6, 6), (200, 40, 90)).save(path)
    for channels, expected in ((3, [200, 40, 90]), (1, [94])):  # ITU-R 601 luma
        out = decode(str(path), (channels, 6, 6))
        assert out.shape == (channels, 6, 6)
        assert np.abs(out.astype(int) - np.array(expected)[:, None, None]).max() <= 4


def test_an_image_of_the_right_size_is_not_changed(tmp_path):
    pixels = rng.integers(256, size=(5, 7, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "x.png")
    assert np.array_equal(decode(str(tmp_path / "x.png"), (3, 5, 7)), pixels.transpose(2, 0, 1))


def test_the_centre_is_cropped_after_covering_the_size(tmp_path):
    pixels = np.zeros((10, 30, 3), dtype=np.uint8)
    pixels[:, 10:20] = 255  # the middle third, a square
    Image.fromarray(pixels).save(tmp_path / "x.png")
    assert (decode(str(tmp_path / "x.png"), (3, 10, 10)) == 255).all()
    whole = decode(str(tmp_path / "x.png"), (3, 10, 30))
    assert np.array_equal(whole, pixels.transpose(2, 0, 1))
    assert decode(str(tmp_path / "x.png"), (3, 40, 20)).shape == (3, 40, 20)  # enlarged


def test_shrinking_is_antialiased(tmp_path):
    checks = np.indices((64, 64)).sum(0) % 2 * 255
    Image.fromarray(checks.astype(np.uint8)).save(tmp_path / "x.png")
    assert np.abs(decode(str(tmp_path / "x.png"), (1, 8, 8)).astype(int) - 127).max() <= 3


def test_transparency_is_laid_on_white(tmp_path):
    pixels = np.zeros((4, 4, 4), dtype=np.uint8)
    pixels[..., 3] = [[0, 51, 204, 255]]  # black, more and more opaque
    Image.fromarray(pixels).save(tmp_path / "rgba.png")
    out = decode(str(tmp_path / "rgba.png"), (3, 4, 4))
    assert np.array_equal(out, np.broadcast_to([255, 204, 51, 0], (3, 4, 4)))

    palette = Image.fromarray(np.array([[0, 1]], dtype=np.uint8))
    palette = palette.convert("P")
    palette.putpalette([10, 20, 30, 40, 50, 60])
    palette.save(tmp_path / "palette.png", transparency=1)
    assert decode(str(tmp_path / "palette.png"), (3, 1, 2))[:, 0].T.tolist() == [[10, 20, 30], [255, 255, 255]]


def test_grey_of_16_bits_is_scaled_to_8(tmp_path):
    values = np.array([[0, 128, 129, 257 * 100, 65535]], dtype=np.uint16)
    for name in ("x.png", "x.tif"):
        Image.fromarray(values).save(tmp_path / name)
        for channels in (1, 3):
            assert decode(str(tmp_path / name), (channels, 1, 5))[-1, 0].tolist() == [0, 0, 1, 100, 255]


def test_the_orientation_of_a_photograph_is_followed(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    picture(tmp_path / "x.png", 4, 8, exif=exif)
    plain = np.asarray(Image.open(tmp_path / "x.png"))
    assert np.array_equal(decode(str(tmp_path / "x.png"), (3, 8, 4)), np.rot90(plain, -1).transpose(2, 0, 1))


def test_an_unreadable_file_is_named(tmp_path):
    for i in range(4):
        picture(tmp_path / f"{i}.png")
    content = (tmp_path / "2.png").read_bytes()
    for bad in (b"", b"not an image", content[: len(content) // 2]):
        (tmp_path / "2.png").write_bytes(bad)
        with pytest.raises(ValueError, match=r"2\.png: not a readable image"):
            decode(str(tmp_path / "2.png"), (3, 4, 4))
    data = ImageFolderDataModule(str(tmp_path), 4, val_share=0, test_share=0, batch_size=4)
    with pytest.raises(ValueError, match=r"2\.png: not a readable image"):
        list(data.train_dataloader())
    Image.fromarray(np.zeros((4, 4), dtype=np.float32)).save(tmp_path / "float.tif")
    with pytest.raises(ValueError, match=r"float\.tif.*floating-point"):
        decode(str(tmp_path / "float.tif"), (1, 4, 4))
    Image.fromarray(np.full((4, 4), 70_000, dtype=np.int32)).save(tmp_path / "wide.tif")
    with pytest.raises(ValueError, match=r"wide\.tif.*65535"):
        decode(str(tmp_path / "wide.tif"), (1, 4, 4))


def test_missing_and_empty_folders_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"root: there is no folder '.*nowhere'"):
        len(ImageFolderDataModule(str(tmp_path / "nowhere")).classes)
    (tmp_path / "x.txt").write_text("")
    with pytest.raises(ValueError, match=rf"no image below '{tmp_path}'.*\.png, \.jpg"):
        ImageFolderDataModule(str(tmp_path)).dataset("train")
    picture(tmp_path / "x.png")
    with pytest.raises(ValueError, match="1 images are too few"):
        ImageFolderDataModule(str(tmp_path)).dataset("train")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"image_size": 0}, "image_size=0"),
        ({"image_size": (4, -1)}, r"image_size=\(4, -1\)"),
        ({"channels": 4}, "channels=4"),
        ({"val_share": 1.0}, "val_share=1.0"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        ImageFolderDataModule("x", **arguments)


def test_training_batches_from_workers_are_flipped(tmp_path):
    dark_left = np.zeros((4, 4), dtype=np.uint8)
    dark_left[:, 2:] = 255
    for i in range(40):
        Image.fromarray(dark_left).save(tmp_path / f"{i}.png")
    data = ImageFolderDataModule(
        str(tmp_path), 4, 1, val_share=0, test_share=0, batch_size=10, num_workers=2, flip=True
    )
    images = torch.cat([images for images, _ in data.train_dataloader()])
    assert images.shape == (40, 1, 4, 4)
    assert 8 <= int((images[:, 0, 0, 0] == 255).sum()) <= 32
    assert (data.val_dataloader(), data.test_dataloader()) == ([], [])


def test_a_link_that_leads_out_of_the_folder_is_refused_unless_asked_for(tmp_path):
    picture(tmp_path / "outside" / "secret" / "0.png")
    for i in range(12):
        picture(tmp_path / "root" / f"{i}.png")
    (tmp_path / "root" / "alias.png").symlink_to(tmp_path / "root" / "0.png")
    (tmp_path / "root" / "loop").symlink_to(tmp_path / "root")
    assert find_images(tmp_path / "root") == sorted(["alias.png", *(f"{i}.png" for i in range(12))])
    for name, target in (("x.png", "outside/secret/0.png"), ("more", "outside")):
        link = tmp_path / "root" / name
        link.symlink_to(tmp_path / target)
        with pytest.raises(ValueError, match=rf"{name}: a link that leads out of the folder"):
            ImageFolderDataModule(str(tmp_path / "root")).dataset("train")
        if name == "x.png":
            link.unlink()
    (tmp_path / "outside" / "back").symlink_to(tmp_path / "outside")
    assert "more/secret/0.png" in find_images(tmp_path / "root", follow_links=True)
    data = ImageFolderDataModule(str(tmp_path / "root"), follow_links=True)
    assert sum(len(data.dataset(split)) for split in ("train", "val", "test")) == 14
    (tmp_path / "link").symlink_to(tmp_path / "outside")  # the folder itself may be one
    assert find_images(tmp_path / "link") == ["secret/0.png"]


def test_every_folder_is_listed_once_and_no_file_looked_at(tmp_path):
    for split, kind in itertools.product(("train", "val", "test"), "ab"):
        (tmp_path / split / kind).mkdir(parents=True)
        for i in range(20):
            (tmp_path / split / kind / f"{i}.png").touch()
    program = """if True:
        import os, sys
        from datamodules import ImageFolderDataModule
        listed, looked = [], []
        sys.addaudithook(lambda event, args: listed.append(args[0]) if event in ("os.scandir", "os.listdir") else None)
        for name in ("stat", "lstat"):
            usual = getattr(os, name)
            setattr(os, name, lambda path, *a, usual=usual, **k: looked.append(str(path)) or usual(path, *a, **k))
        listed.clear()
        data = ImageFolderDataModule(sys.argv[1])
        print(data.num_classes, len(data.dataset("train")))
        print(len(listed), len([path for path in looked if path.endswith(".png")]))
    """
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["2", "40", "10", "0"]  # root, 3 splits, 6 classes


def test_names_in_one_piece_are_the_strings():
    strings = ["a/b.png", "", "ü.jpg", "\udcff.png"]
    names = Names(strings)
    assert list(names) == strings
    assert names[-1] == strings[-1]
    assert names[1:3] == strings[1:3]
    with pytest.raises(IndexError):
        names[4]


def test_a_file_is_read_as_an_image_of_the_formats_named_only(tmp_path):
    Image.new("RGB", (4, 4)).save(tmp_path / "x.tga")
    (tmp_path / "x.tga").rename(tmp_path / "x.png")
    with pytest.raises(ValueError, match=r"x\.png: not a readable image"):
        decode(str(tmp_path / "x.png"), (3, 4, 4))
