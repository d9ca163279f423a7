"""The directory of a .zip reads what Python's zipfile reads."""

import pickle
import zipfile
import zlib

import pytest

from datamodules.image_tree import ImageTree
from datamodules.listing import Archive
from datamodules.zip_directory import Names, ZipDirectory

FILES = {"b/2.png": b"two" * 50, "a/1.png": b"", "\u00fc/\u00e9.png": bytes(range(256)), "dataset.json": b"{}"}


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_files_are_those_of_zipfile(tmp_path, method):
    with zipfile.ZipFile(tmp_path / "x.zip", "w", method) as archive:
        for name, content in FILES.items():
            archive.writestr(name, content)
        archive.comment = b"a comment"
    found = pickle.loads(pickle.dumps(ZipDirectory(str(tmp_path / "x.zip"))))
    assert list(found.names) == sorted(FILES)
    for name, content in FILES.items():
        assert found.read(found.find(name)) == content
        assert found.entry(name) == (len(content), zlib.crc32(content))
    with pytest.raises(KeyError, match="c/3"):
        found.find("c/3.png")


def test_what_is_before_the_archive_and_large_numbers_are_understood(tmp_path, monkeypatch):
    monkeypatch.setattr(zipfile, "ZIP64_LIMIT", 100)
    monkeypatch.setattr(zipfile, "ZIP_FILECOUNT_LIMIT", 3)
    with open(tmp_path / "x.zip", "wb") as file:
        file.write(b"#!/bin/sh\n" * 20)
        with zipfile.ZipFile(file, "w") as archive:
            for name, content in FILES.items():
                archive.writestr(name, content)
    assert b"PK\6\6" in (tmp_path / "x.zip").read_bytes()
    found = ZipDirectory(str(tmp_path / "x.zip"))
    assert {name: found.read(i) for name, i in zip(found.names, found.find_all(found.names), strict=True)} == FILES


def test_of_two_files_of_one_name_the_last_counts_and_is_told(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("a.png", b"first")
        archive.writestr("b.png", b"other")
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("a.png", b"last")
    archive = Archive(str(tmp_path / "x.zip"))
    assert archive.listing().images == ["a.png", "b.png"]
    (note,) = ImageTree(str(tmp_path / "x.zip")).notes
    assert note.endswith("the last counts: a.png")
    assert archive.open("a.png").read() == b"last"


@pytest.mark.parametrize("end", [5, 30, 60, 120])
def test_damage_is_one_line_that_names_the_file(tmp_path, end):
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("a.png", b"abc")
    content = (tmp_path / "x.zip").read_bytes()
    (tmp_path / "cut.zip").write_bytes(content[: len(content) - end])
    with pytest.raises(ValueError, match=r"cut\.zip: not a readable \.zip file"):
        Archive(str(tmp_path / "cut.zip"))


def test_a_file_that_is_cut_off_is_told(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("1.png", b"two" * 50)
    content = (tmp_path / "x.zip").read_bytes()
    for end in (len(content) - 10, len(content) // 2):
        (tmp_path / "x.zip").write_bytes(content[:end])
        with pytest.raises(ValueError, match=r"x\.zip: not a readable .zip file: it is cut off, its end is missing$"):
            Archive(str(tmp_path / "x.zip"))


def test_a_changed_file_is_told_by_its_checksum(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("a.png", b"abc")
    content = (tmp_path / "x.zip").read_bytes().replace(b"abc", b"abd", 1)
    (tmp_path / "x.zip").write_bytes(content)
    with pytest.raises(ValueError, match=r"x\.zip/a\.png: can't be read: Bad CRC-32"):
        Archive(str(tmp_path / "x.zip")).open("a.png")


def test_names_are_kept_in_one_piece():
    names = Names(["a", "", "\u00fc"])
    assert (len(names), names[-1], names[:2]) == (3, "\u00fc", ["a", ""])
