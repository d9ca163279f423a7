"""Data in another form: the same pixels, labels, names and splits, also where the conversion was killed."""

import errno
import hashlib
import io
import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from collections import Counter
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from datamodules.conversion import run, targets
from datamodules.conversion.parts import Parts, parts_of
from datamodules.conversion.pictures import Wanted
from lit_gen.cli.app import main
from lit_gen.cli.commands.check import data_at, parser

rng = np.random.default_rng(0)
NAMES = ("zebra", "ant", "a/b: \u00fc*", "nobody")  # in an order of their own; no folder's name; a class without images
FORMS = {"folder": "folder", "zip": "set.zip", "npz": "set.npz", "shards": "shards", "parquet": "parquet"}


def opened(path, **options):
    given = parser().parse_args([str(path)])
    return data_at(type(given)(**{**vars(given), "image_size": 8, "channels": 3, **options}))


def convert(source, target, *options):
    main(["convert", str(source), str(target), *options])


def contents(data):
    """Names of the classes, and of each split how often each pair of label and pixels occurs."""
    found = {}
    for split in ("train", "val", "test"):
        dataset = data.dataset(split)
        if len(dataset):
            images, labels = dataset.__getitems__(list(range(len(dataset))))
            found[split] = Counter(zip(labels.tolist(), (image.numpy().tobytes() for image in images), strict=True))
    return tuple(data.class_names if data.num_classes else ()), found


def tree(path):
    """Every file below, by name and bytes."""
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    return {
        str(file.relative_to(path)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files if file.is_file()
    }


@pytest.fixture(scope="module")
def arrays(tmp_path_factory):
    """30 pictures in colour with all splits."""
    root = tmp_path_factory.mktemp("arrays")
    sizes = {"train": 20, "val": 6, "test": 4}
    images = {f"{split}_images": rng.integers(256, size=(n, 8, 8, 3), dtype=np.uint8) for split, n in sizes.items()}
    labels = {f"{split}_labels": np.arange(n) % 3 for split, n in sizes.items()}
    np.savez(root / "set.npz", **images, **labels, class_names=np.array(NAMES))
    return root / "set.npz"


@pytest.fixture(scope="module")
def forms(arrays, tmp_path_factory):
    root = tmp_path_factory.mktemp("forms")
    for kind, name in FORMS.items():
        if kind != "parquet" or find_spec("pyarrow"):
            convert(arrays, root / name, "--to", kind, "--images_per_shard", "7")
    return root


@pytest.fixture
def photos(tmp_path):
    """Two classes of files of several sizes and formats; some change when they are read."""
    folder = tmp_path / "photos"
    for i in range(12):
        path = folder / ("cat", "dog")[i % 2] / f"{i:02d}.{('png', 'jpg', 'webp', 'bmp')[i % 4]}"
        path.parent.mkdir(parents=True, exist_ok=True)
        image = Image.fromarray(rng.integers(256, size=(9 + i, 12, 3), dtype=np.uint8))
        (image.convert("L") if i == 8 else image.convert("RGBA") if i == 4 else image).save(path)
    return folder


@pytest.mark.parametrize("target", FORMS)
@pytest.mark.parametrize("source", FORMS)
def test_every_form_becomes_every_other(forms, arrays, source, target, tmp_path, capsys):
    if "parquet" in (source, target):
        pytest.importorskip("pyarrow")
    convert(forms / FORMS[source], tmp_path / FORMS[target], "--to", target, "--images_per_shard", "4")
    assert contents(opened(tmp_path / FORMS[target])) == contents(opened(arrays))
    assert "30 read, 30 written (train 20, val 6, test 4), 0 refused" in capsys.readouterr().out
    assert [path.name for path in tmp_path.iterdir()] == [FORMS[target]]  # no parts are left


@pytest.mark.parametrize("kind", FORMS)
def test_data_without_labels_and_splits_stay_without(kind, tmp_path):
    if kind == "parquet":
        pytest.importorskip("pyarrow")
    np.save(tmp_path / "set.npy", rng.integers(256, size=(5, 8, 8), dtype=np.uint8))
    convert(tmp_path / "set.npy", tmp_path / FORMS[kind], "--to", kind)
    names, found = contents(opened(tmp_path / FORMS[kind], channels=1))
    assert names == ()
    assert (list(found), found["train"].total()) == (["train"], 5)
    assert found == contents(opened(tmp_path / "set.npy"))[1]


def test_points_become_shards_and_arrays_alone(tmp_path, capsys):
    points = rng.normal(size=(9, 2)).astype(np.float32)
    np.savez(tmp_path / "points.npz", x_train=points[:5], x_val=points[5:])
    convert(tmp_path / "points.npz", tmp_path / "shards", "--to", "shards")
    convert(tmp_path / "shards", tmp_path / "again.npz")
    with np.load(tmp_path / "again.npz") as again:
        assert np.array_equal(np.concatenate([again["train_images"], again["val_images"]]), points)
    with pytest.raises(SystemExit):
        convert(tmp_path / "points.npz", tmp_path / "p.zip")
    assert "no pictures of 1 or 3 channels, which a zip holds" in capsys.readouterr().err


def test_a_zip_is_laid_out_as_stylegan_does(forms):
    with zipfile.ZipFile(forms / "set.zip") as archive:
        assert {entry.compress_type for entry in archive.infolist()} == {zipfile.ZIP_STORED}
        assert archive.namelist()[:2] == ["train/00000/img00000000.png", "train/00000/img00000001.png"]
        listing = json.loads(archive.read("dataset.json"))
    assert listing["labels"][:2] == [["train/00000/img00000000.png", 0], ["train/00000/img00000001.png", 1]]
    assert listing["class_names"] == list(NAMES)


def test_parquet_is_what_the_library_datasets_reads(forms, arrays):
    datasets = pytest.importorskip("datasets")
    parquet = pytest.importorskip("pyarrow.parquet")
    files = {split: str(next((forms / "parquet").glob(f"{split}-*-of-00001.parquet"))) for split in ("train", "test")}
    assert [parquet.ParquetFile(files["train"]).metadata.row_group(i).num_rows for i in range(3)] == [7, 7, 6]
    read = datasets.Dataset.from_parquet(files["train"], cache_dir=str(forms / "cache"))
    assert isinstance(read.features["image"], datasets.Image)
    assert read.features["label"].names == list(NAMES)
    with np.load(arrays) as stored:
        assert np.array_equal(np.stack([np.asarray(image) for image in read["image"]]), stored["train_images"])
        assert read["label"][:] == stored["train_labels"].tolist()


def test_files_keep_their_bytes_where_nothing_changes(photos, tmp_path, capsys):
    convert(photos, tmp_path / "set.zip")
    assert "12 read, 12 written (train 12), 0 refused; 8 with the bytes of the source" in capsys.readouterr().out
    own = {path.read_bytes() for path in photos.rglob("*") if path.suffix in (".png", ".jpg", ".webp")}
    with zipfile.ZipFile(tmp_path / "set.zip") as archive:
        kept = {archive.read(name) for name in archive.namelist()}
        assert {Path(name).suffix for name in archive.namelist()} == {".png", ".jpg", ".webp", ".json"}
    assert len(own & kept) == 8  # all but the one with alpha and the three .bmp
    assert contents(opened(tmp_path / "set.zip", image_size=5)) == contents(opened(photos, image_size=5))


def test_sizes_and_channels_are_those_of_the_folders_data_module(photos, tmp_path):
    convert(photos, tmp_path / "set.npz", "--image_size", "8", "--channels", "1")
    convert(photos, tmp_path / "set", "--image_size", "6x7", "--format", "webp")
    assert contents(opened(tmp_path / "set.npz")) == contents(opened(photos, channels=1))
    assert {path.suffix for path in (tmp_path / "set").rglob("*.*")} == {".json", ".webp"}
    own = contents(opened(photos, image_size=(6, 7)))
    assert contents(opened(tmp_path / "set", image_size=(6, 7))) == own


def test_pictures_that_say_their_orientation_are_written_upright(tmp_path):
    (tmp_path / "photos").mkdir()
    exif = Image.Exif()
    exif[0x0112] = 6
    pixels = rng.integers(256, size=(4, 6, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photos" / "a.png", exif=exif)
    convert(tmp_path / "photos", tmp_path / "set.zip")
    with zipfile.ZipFile(tmp_path / "set.zip") as archive:
        upright = Image.open(io.BytesIO(archive.read("00000/img00000000.png")))
    assert np.array_equal(np.asarray(upright), np.rot90(pixels, -1))


def test_jpeg_has_the_quality_that_is_asked_for(arrays, tmp_path):
    for quality in ("20", "90"):
        convert(arrays, tmp_path / f"q{quality}.zip", "--format", "jpg", "--quality", quality)
    sizes = [(tmp_path / name).stat().st_size for name in ("q20.zip", "q90.zip")]
    assert sizes[0] < sizes[1]


def test_the_number_of_processes_changes_nothing(photos, tmp_path):
    for kind in ("zip", "folder"):
        convert(photos, tmp_path / f"one.{kind}"[: None if kind == "zip" else 3], "--images_per_shard", "3")
    convert(photos, tmp_path / "two.zip", "--images_per_shard", "3", "--processes", "2")
    assert tree(tmp_path / "one.zip") == tree(tmp_path / "two.zip")


def test_what_was_finished_is_not_done_again(photos, tmp_path, monkeypatch):
    options = ("--image_size", "8", "--images_per_shard", "2")
    convert(photos, tmp_path / "whole.zip", *options)
    written, write = [], Parts.write

    def dies(self, part):
        if part.number == 3 and not written.count("died"):
            written.append("died")
            raise KeyboardInterrupt
        written.append(part.number)
        return write(self, part)

    monkeypatch.setattr(Parts, "write", dies)
    with pytest.raises(SystemExit):
        convert(photos, tmp_path / "set.zip", *options)
    assert not (tmp_path / "set.zip").exists()
    convert(photos, tmp_path / "set.zip", *options)
    assert written == [0, 1, 2, "died", 3, 4, 5]
    assert tree(tmp_path / "set.zip") == tree(tmp_path / "whole.zip")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["photos", "set.zip", "whole.zip"]


@pytest.mark.parametrize("change", ["options", "alpha", "files"])
def test_parts_of_another_conversion_are_refused(photos, tmp_path, monkeypatch, capsys, change):
    monkeypatch.setitem(targets.WRITERS, "zip", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        convert(photos, tmp_path / "set.zip")
    if change == "files":
        (photos / "cat" / "00.png").write_bytes((photos / "cat" / "04.png").read_bytes())
    with pytest.raises(SystemExit):
        convert(
            photos,
            tmp_path / "set.zip",
            *{"options": ["--channels", "1"], "alpha": ["--alpha", "drop"]}.get(change, []),
        )
    told = {"options": "with channels None", "alpha": "with alpha None", "files": "of files that have changed since"}[
        change
    ]
    error = capsys.readouterr().err
    assert told in error
    assert "or delete the folder" in error
    assert error.count("\n") == 1


KILLED = """
import sys
from datamodules.conversion import parts
from lit_gen.cli.app import main
write = parts.Parts.write
def slow(self, part):
    import time
    time.sleep(0.2)
    return write(self, part)
parts.Parts.write = slow
main(["convert", *sys.argv[1:]])
"""


@pytest.mark.parametrize("processes", ["1", "2"])
def test_a_killed_conversion_goes_on_and_ends_with_the_same_bytes(photos, tmp_path, processes):
    options = ["--image_size", "8", "--images_per_shard", "1", "--processes", processes]
    convert(photos, tmp_path / "whole", *options)
    target, parts = tmp_path / "set", tmp_path / ".set.converting"
    command = [sys.executable, "-c", KILLED, str(photos), str(target), *options]
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    while len(list(parts.glob("part-*.json"))) < 3:
        assert child.poll() is None
        time.sleep(0.02)
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert not target.exists()
    finished = {path: path.stat().st_mtime_ns for path in parts.glob("part-*.json")}
    assert 3 <= len(finished) < 12
    assert json.loads((parts / "manifest.json").read_text())["options"]["images"] == {"train": 12}
    convert(photos, target, *options)
    assert tree(target) == tree(tmp_path / "whole")
    assert not parts.exists()


def test_one_killed_after_the_target_had_its_name_ends_well(photos, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(run.shutil, "rmtree", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        convert(photos, tmp_path / "set.zip")
    monkeypatch.undo()
    before = tree(tmp_path / "set.zip")
    convert(photos, tmp_path / "set.zip")
    assert tree(tmp_path / "set.zip") == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["photos", "set.zip"]
    with pytest.raises(SystemExit):
        convert(photos, tmp_path / "set.zip")
    assert "exists already" in capsys.readouterr().err


def test_a_picture_that_cannot_be_read_is_an_error_or_left_out(photos, tmp_path, capsys):
    (photos / "cat" / "04.png").write_bytes((photos / "cat" / "04.png").read_bytes()[:90])
    for processes in ("1", "2"):
        with pytest.raises(SystemExit):
            convert(photos, tmp_path / "set.zip", "--images_per_shard", "20", "--processes", processes)
        error = capsys.readouterr().err
        assert error.startswith("lit-gen: error: ")
        assert "04.png: not a readable image" in error
        assert "--skip_unreadable" in error
        assert error.count("\n") == 1
        assert [path.name for path in tmp_path.iterdir()] == ["photos"]
    convert(photos, tmp_path / "set.zip", "--skip_unreadable")
    out = capsys.readouterr().out
    assert "12 read, 11 written (train 11), 1 refused" in out
    assert "04.png: not a readable image" in out.splitlines()[1]
    assert contents(opened(tmp_path / "set.zip"))[1]["train"].total() == 11


def test_what_was_left_out_is_no_part_of_a_conversion_without_it(photos, tmp_path, monkeypatch):
    (photos / "cat" / "04.png").write_bytes(b"x")
    monkeypatch.setitem(targets.WRITERS, "zip", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        convert(photos, tmp_path / "set.zip", "--skip_unreadable")
    with pytest.raises(SystemExit):
        convert(photos, tmp_path / "set.zip")


def test_a_target_that_reads_back_otherwise_gets_no_name(photos, tmp_path, monkeypatch, capsys):
    def writes_another(path, finished, names):
        targets.write_zip(path, finished, names)
        content = bytearray(path.read_bytes())
        content[200] ^= 1  # a pixel of the first picture
        path.write_bytes(content)

    monkeypatch.setitem(targets.WRITERS, "zip", writes_another)
    with pytest.raises(SystemExit):
        convert(photos, tmp_path / "set.zip")
    assert capsys.readouterr().err.count("\n") == 1
    assert not (tmp_path / "set.zip").exists()


def test_a_full_disk_is_one_line_and_the_parts_stay(photos, tmp_path, monkeypatch, capsys):
    def full(path, finished, names):
        path.write_bytes(b"half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setitem(targets.WRITERS, "zip", full)
    with pytest.raises(SystemExit):
        convert(photos, tmp_path / "set.zip")
    error = capsys.readouterr().err
    assert "No space left on device" in error
    assert "the same command goes on" in error
    assert error.count("\n") == 1
    monkeypatch.undo()
    convert(photos, tmp_path / "set.zip")
    assert contents(opened(tmp_path / "set.zip")) == contents(opened(photos))


@pytest.mark.parametrize(
    ("target", "options", "told"),
    [
        ("photos/set.zip", [], "lies within"),
        ("photos", [], "exists already"),
        ("set.zip", ["--to", "npz"], "would be read as a zip"),
        ("set", ["--to", "zip"], "must end with .zip"),
        ("set.npz", [], "sizes of pictures"),
        ("set.npz", ["--image_size", "8", "--format", "png"], "an .npz holds pixels"),
        ("set.zip", ["--crop", "centre"], "say --image_size"),
        ("set.zip", ["--crop", "none", "--image_size", "8"], "--crop none"),
        ("set.zip", ["--quality", "90"], "quality=90: for format='jpg' alone"),
        ("set.zip", ["--format", "jpg", "--quality", "0"], "from 1 to 95"),
        ("set.zip", ["--image_size", "0"], "must be at least 1"),
        ("set.zip", ["--image_size", "8x"], "such as 48x64"),
        ("set.zip", ["--processes", "0"], "processes=0"),
        ("set.zip", ["--root", "x"], "only data that are named take it"),
    ],
)
def test_what_cannot_be_is_refused_before_work_begins(photos, tmp_path, capsys, target, options, told):
    with pytest.raises(SystemExit):
        convert(photos, tmp_path / target, *options)
    error = capsys.readouterr().err
    assert told in error
    assert error.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["photos"]


def test_one_file_of_parquet_has_no_splits(arrays, tmp_path, capsys):
    pytest.importorskip("pyarrow")
    with pytest.raises(SystemExit):
        convert(arrays, tmp_path / "set.parquet")
    assert "one parquet file has no splits" in capsys.readouterr().err


def test_a_missing_source_is_named(tmp_path, capsys):
    with pytest.raises(SystemExit):
        convert(tmp_path / "nothing", tmp_path / "set.zip")
    assert "nothing" in capsys.readouterr().err


def test_data_that_are_named_are_converted(tmp_path, capsys):
    convert("digits", tmp_path / "digits.zip")
    assert "1,797 read, 1,797 written" in capsys.readouterr().out


def test_parts_cover_every_split_without_overlap():
    parts = parts_of({"train": 5, "test": 2}, 2)
    assert [(part.split, part.start, part.stop) for part in parts] == [
        ("train", 0, 2), ("train", 2, 4), ("train", 4, 5), ("test", 0, 2)
    ]  # fmt: skip


@pytest.mark.parametrize("arguments", [{"size": (0, 8)}, {"channels": 2}, {"format": "gif"}, {"quality": 10}])
def test_bad_wishes_are_named(arguments):
    with pytest.raises(ValueError, match=next(iter(arguments)).replace("size", "image_size")):
        Wanted(**arguments)
