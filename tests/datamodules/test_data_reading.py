"""How files become pixels: formats, pages, the value that is white, orientation, transparency, size limits."""

import io
import struct
import tarfile
import tracemalloc
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms

from datamodules import ArrayDataModule, ImageFolderDataModule, StreamingDataModule
from datamodules.decoding import decode, read_header
from datamodules.pixel_values import Reading, to_bytes

rng = np.random.default_rng(0)


def save(path, values, **options) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(path, **options)
    return str(path)


def everything(dataset) -> torch.Tensor:
    return dataset.__getitems__(list(range(len(dataset))))[0]


def in_all_forms(tmp_path, files, **options):
    """The files' images from a folder, a .zip and a shard, which must be the same."""
    with tarfile.open(tmp_path / "x.tar", "w") as tar, zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        for i, path in enumerate(files):
            tar.add(path, f"{i:03d}.{path.rpartition('.')[2]}")
            archive.write(path, f"{i:03d}.{path.rpartition('.')[2]}")
    (tmp_path / "shards").mkdir()
    (tmp_path / "x.tar").rename(tmp_path / "shards" / "x.tar")
    whole = {"val_share": 0, "test_share": 0, "image_size": 4, "channels": 1, "batch_size": 1}
    archive = ImageFolderDataModule(tmp_path / "x.zip", **whole, **options)
    shards = StreamingDataModule(tmp_path / "shards", image_size=4, channels=1, **options)
    images = everything(archive.dataset("train"))
    assert torch.equal(images, everything(shards.dataset("train")))
    assert archive.summary().warnings == shards.summary().warnings
    assert archive.summary().found.values == shards.summary().found.values
    return images, archive.summary()


@pytest.mark.parametrize(
    ("values", "dtype", "suffix", "warned"),
    [(4095, np.uint16, "png", 4095), (1, np.uint8, "png", 1), (1023, np.int32, "tif", 1023), (1, np.float32, "tif", 1)],
)
def test_the_value_that_becomes_white(tmp_path, values, dtype, suffix, warned):
    """12 bits in 16, masks of 0 and 1, int32, floats: dark and told by default, the whole range when white is given."""
    ramp = np.linspace(0, values, 16).reshape(4, 4)
    ramp = ramp.round().astype(dtype) if dtype != np.float32 else ramp.astype(dtype)
    half = (ramp / 2).astype(dtype)
    files = [save(tmp_path / f"{i}.{suffix}", array) for i, array in enumerate((ramp, half))]
    (tmp_path / "a").mkdir()
    images, summary = in_all_forms(tmp_path / "a", files, white=values)
    for image, array in zip(images, (ramp, half), strict=True):  # no stretching: the darker one stays darker
        assert np.array_equal(image[0].numpy(), np.floor(array * (255 / values) + 0.5).astype(np.uint8))
    assert not [warning for warning in summary.warnings if "white" in warning]
    (tmp_path / "b").mkdir()
    if dtype == np.float32:
        with pytest.raises(ValueError, match=r"floating-point pixels; say the value that becomes white, white=1\.0"):
            in_all_forms(tmp_path / "b", files)
    else:
        _, summary = in_all_forms(tmp_path / "b", files)
        assert [f"white={warned}" in warning for warning in summary.warnings] == [True]
    (tmp_path / "c").mkdir()
    if values > 1:
        with pytest.raises(ValueError, match=rf"values .*{values}.* outside 0\.\.{values - 1}"):
            in_all_forms(tmp_path / "c", files, white=values - 1)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA"])
def test_white_leaves_alpha_as_it_is(tmp_path, mode):
    values = np.zeros((2, 2, len(mode)), np.uint8)
    values[..., :-1] = 10
    values[..., -1] = 255 if mode != "RGB" else 10
    path = save(tmp_path / "x.png", values)
    assert (decode(path, (3, 2, 2), reading=Reading(white=10)) == 255).all()


@pytest.mark.parametrize("dtype", [np.uint16, np.bool_, np.int64, np.float32])
def test_arrays_take_a_white_too(tmp_path, dtype):
    top = 1 if dtype == np.bool_ else 4095
    array = rng.integers(0, top + 1, (20, 5, 6, 3)).astype(dtype)
    array[0, 0, 0, 0] = top
    np.savez(tmp_path / "x.npz", images=array)
    data = ArrayDataModule(tmp_path / "x.npz", white=top, val_share=0, test_share=0)
    expected = np.floor(array * (255.0 / top) + 0.5).astype(np.uint8).transpose(0, 3, 1, 2)
    assert np.array_equal(data.dataset("train").images.numpy(), expected)
    assert data.summary().found.values == (array.min(), top, top)
    if dtype in (np.uint16, np.int64):
        with pytest.raises(ValueError, match=r"values \d\.\.4095, outside 0\.\.4094"):
            ArrayDataModule(tmp_path / "x.npz", white=4094).dataset("train")
    plain = ArrayDataModule(tmp_path / "x.npz", val_share=0, test_share=0)
    if dtype == np.uint16:
        assert "white=4095" in plain.summary().warnings[0]
    elif dtype == np.bool_:
        assert plain.dataset("train").images.max() == 255
        assert plain.summary().warnings == ()
    else:
        with pytest.raises(ValueError, match=r"with white=\.\.\."):
            plain.dataset("train")
    np.savez(tmp_path / "points.npz", points=np.zeros((9, 2)))
    with pytest.raises(ValueError, match=r"white=3: .*are points"):
        ArrayDataModule(tmp_path / "points.npz", white=3).dataset("train")


def test_bytes_are_rounded_to_the_nearest_of_every_value():
    for white in (1, 255, 1000, 4095, 65535):
        values = np.arange(white + 1, dtype=np.int64)
        expected = [(2 * 255 * v + white) // (2 * white) for v in values.tolist()]
        for dtype in (np.uint16, np.int64, np.float64):
            assert to_bytes(values.astype(dtype), white).tolist() == expected
    with pytest.raises(ValueError, match="outside"):
        to_bytes(np.array([np.nan]), 1)


def test_other_formats_are_counted_and_a_gif_gives_its_first_frame(tmp_path):
    frames = [Image.fromarray(np.full((4, 4), grey, np.uint8)) for grey in (40, 200)]
    frames[0].save(tmp_path / "moving.GIF", save_all=True, append_images=frames[1:])
    for suffix, kind in (("jfif", "JPEG"), ("jpe", "JPEG"), ("avif", "AVIF"), ("png", "PNG")):
        Image.new("L", (4, 4), 40).save(tmp_path / f"x.{suffix}", kind)
    for name in ("a.HEIC", "b.heic", "c.txt", "README"):
        (tmp_path / name).write_text("")
    data = ImageFolderDataModule(tmp_path, 4, 1, val_share=0, test_share=0)
    images = everything(data.dataset("train"))
    assert len(images) == 5
    assert int((images.int() - 40).abs().max()) <= 2
    summary = data.summary()
    assert summary.found.left_out == {".heic": 2, ".txt": 1, "README": 1}
    assert "left out 2 .heic, 1 .txt, 1 README" in summary.line()
    assert any("moving.GIF: 2" in warning and "only the first" in warning for warning in summary.warnings)


@pytest.mark.parametrize("cache", ["none", "ram", "disk"])
@pytest.mark.parametrize("form", ["folder", "zip"])
def test_all_pages_of_a_tiff_are_images_that_stay_in_one_split(tmp_path, cache, form):
    for stack in range(5):
        slices = [Image.fromarray(np.full((4, 4), 10 * stack + i, np.uint8)) for i in range(stack + 1)]
        (tmp_path / "x").mkdir(exist_ok=True)
        slices[0].save(tmp_path / "x" / f"{stack}.tif", save_all=True, append_images=slices[1:])
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        for path in sorted((tmp_path / "x").iterdir()):
            archive.write(path, path.name)
    root = tmp_path / ("x" if form == "folder" else "x.zip")
    options = {"cache": cache, "cache_folder": str(tmp_path / "cache") if cache == "disk" else None}
    data = ImageFolderDataModule(root, 4, 1, val_share=0.2, test_share=0.2, pages="all", **options)
    for _ in range(2):
        found = [everything(data.dataset(split))[:, 0, 0, 0].tolist() for split in ("train", "val", "test")]
        assert sorted(sum(found, [])) == [10 * s + i for s in range(5) for i in range(s + 1)]  # noqa: RUF017
        assert len({split for split, greys in enumerate(found) for grey in greys if grey >= 40}) == 1
    assert not any("pages" in warning for warning in data.summary().warnings)
    first = ImageFolderDataModule(root, 4, 1, val_share=0, test_share=0)
    assert everything(first.dataset("train"))[:, 0, 0, 0].tolist() == [0, 10, 20, 30, 40]
    assert any("4 of 5 files looked at hold several pages" in warning for warning in first.summary().warnings)


def test_orientation_needs_no_readable_exif_block(tmp_path):
    """A block whose resolution is text can't be written again; its orientation is read all the same."""
    photo = Image.fromarray(rng.integers(256, size=(4, 8, 3), dtype=np.uint8))
    buffer = io.BytesIO()
    photo.save(buffer, "JPEG", quality=95)
    plain = decode(io.BytesIO(buffer.getvalue()), (3, 4, 8))
    for turn, expected in ((6, np.rot90(plain, -1, (1, 2))), (3, plain[:, ::-1, ::-1]), (2, plain[:, :, ::-1])):
        tags = struct.pack("<HHIHH", 0x0112, 3, 1, turn, 0) + struct.pack("<HHI4s", 0x011A, 2, 4, b"abc\0")
        exif = b"Exif\0\0II*\0\x08\0\0\0\x02\0" + tags + b"\0\0\0\0"
        jpeg = buffer.getvalue()
        content = jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + jpeg[2:]
        assert np.array_equal(decode(io.BytesIO(content), expected.shape), expected)
    broken = jpeg[:2] + b"\xff\xe1" + struct.pack(">H", 14) + b"Exif\0\0garbag" + jpeg[2:]
    assert np.array_equal(decode(io.BytesIO(broken), plain.shape), plain)


def test_every_mode_becomes_grey_over_colour(tmp_path):
    colour = Image.new("RGB", (4, 4), (200, 40, 90))
    lab = ImageCms.profileToProfile(
        colour, ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), outputMode="LAB"
    )
    for image in (lab, colour.convert("CMYK"), colour.convert("YCbCr"), colour.quantize()):
        image.save(tmp_path / "x.tif", compression="tiff_lzw")  # Pillow 12.3.0 can't read its own plain YCbCr
        grey = decode(str(tmp_path / "x.tif"), (1, 4, 4))
        assert abs(int(grey[0, 0, 0]) - 94) <= 3, image.mode  # ITU-R 601 luma


def test_alpha_is_laid_on_white_or_dropped_as_pytorch_fid_does(tmp_path):
    pixels = rng.integers(256, size=(4, 4, 4), dtype=np.uint8)
    pixels[0, 0, 3] = 0
    path = save(tmp_path / "x" / "x.png", pixels)
    dropped = decode(path, (3, 4, 4), reading=Reading(alpha="drop"))
    assert np.array_equal(dropped, np.asarray(Image.open(path).convert("RGB")).transpose(2, 0, 1))
    assert decode(path, (3, 4, 4))[:, 0, 0].tolist() == [255, 255, 255]
    for alpha, told in (("white", True), ("drop", False)):
        data = ImageFolderDataModule(tmp_path / "x", 4, alpha=alpha, val_share=0, test_share=0)
        assert any("alpha channel" in warning for warning in data.summary().warnings) == told
    with pytest.raises(ValueError, match="alpha='black'"):
        ImageFolderDataModule("x", alpha="black")


def test_large_pictures_need_a_larger_limit(tmp_path):
    path = save(tmp_path / "x.png", np.zeros((10, 30), np.uint8))
    with pytest.raises(ValueError, match=r"x\.png: not a readable image: 30 x 10 are 300 pixels.*max_pixels=299"):
        decode(path, (1, 1, 1), reading=Reading(max_pixels=299))
    assert decode(path, (1, 1, 1), reading=Reading(max_pixels=300)).shape == (1, 1, 1)
    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, 20
    try:  # the option is above Pillow's own limit too
        assert read_header(path, "x").size == (10, 30)
    finally:
        Image.MAX_IMAGE_PIXELS = limit
    assert limit == Image.MAX_IMAGE_PIXELS
    with pytest.raises(ValueError, match="max_pixels=0"):
        ImageFolderDataModule("x", max_pixels=0)


@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
def test_splitting_an_array_makes_no_second_one(tmp_path, layout):
    shape = (4000, 32, 32, 3) if layout == "NHWC" else (4000, 3, 32, 32)
    array = rng.integers(256, size=shape, dtype=np.uint8)
    np.save(tmp_path / "x.npy", array)
    data = ArrayDataModule(tmp_path / "x.npy", layout=layout)
    tracemalloc.start()
    try:
        train = data.dataset("train")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1.4 * array.nbytes
    expected = array.transpose(0, 3, 1, 2) if layout == "NHWC" else array
    parts = [data.dataset(split) for split in ("train", "val", "test")]
    assert [len(part) for part in parts] == [3200, 400, 400]
    assert sum(int(part.images.to(torch.int64).sum()) for part in parts) == int(expected.astype(np.int64).sum())
    assert np.array_equal(train.images[:3].numpy(), expected[train._rows[:3]])


def test_an_archive_is_read_alike_by_workers(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for i in range(64):
            buffer = io.BytesIO()
            Image.fromarray(np.full((8, 8), i, np.uint8)).save(buffer, "PNG")
            archive.writestr(f"{i:02d}.png", buffer.getvalue())
    data = ImageFolderDataModule(tmp_path / "x.zip", 8, 1, val_share=0, test_share=0, batch_size=4, num_workers=2)
    assert data.dataset("train")[5][0].unique().tolist() == [5]  # opened before the workers are there
    greys = torch.cat([images for images, _ in data.train_dataloader()])[:, 0]
    assert sorted(greys[:, 0, 0].tolist()) == list(range(64))
    assert (greys == greys[:, :1, :1]).all()


def test_damaged_archives_and_members_are_named(tmp_path):
    (tmp_path / "a.zip").write_bytes(b"no zip")
    with pytest.raises(ValueError, match=r"a\.zip: not a readable \.zip file"):
        ImageFolderDataModule(tmp_path / "a.zip").dataset("train")
    with pytest.raises(FileNotFoundError, match=r"b\.zip"):
        ImageFolderDataModule(tmp_path / "b.zip").dataset("train")
    save(tmp_path / "x.png", rng.integers(256, size=(9, 9, 3), dtype=np.uint8))
    with zipfile.ZipFile(tmp_path / "c.zip", "w") as archive:
        archive.write(tmp_path / "x.png", "x.png")
    content = bytearray((tmp_path / "c.zip").read_bytes())
    content[120] ^= 255
    (tmp_path / "c.zip").write_bytes(content)
    data = ImageFolderDataModule(tmp_path / "c.zip", val_share=0, test_share=0)
    with pytest.raises(ValueError, match=r"c\.zip/x\.png: can.t be read"):
        data.dataset("train")[0]
