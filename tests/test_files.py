import pytest

from lit_gen.files import whole_file, whole_folder


def test_the_target_appears_at_the_end(tmp_path):
    path = tmp_path / "new" / "file.bin"
    with whole_file(path) as file:
        file.write(b"half")
        assert not path.exists()
        file.write(b" whole")
    assert path.read_bytes() == b"half whole"
    assert list(path.parent.iterdir()) == [path]


def test_an_error_leaves_the_old_file(tmp_path):
    path = tmp_path / "file.bin"
    path.write_bytes(b"old")

    def write():
        with whole_file(path) as file:
            file.write(b"new, but hal")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        write()
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("empty", [False, True])
def test_a_folder_appears_at_the_end(tmp_path, empty):
    path = tmp_path / "new" / "folder"
    if empty:
        path.mkdir(parents=True)
    with whole_folder(path) as unfinished:
        (unfinished / "a").write_text("1")
        assert not path.exists() or list(path.iterdir()) == []
    assert (path / "a").read_text() == "1"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
@pytest.mark.parametrize("kind", ["absent", "empty", "full"])
def test_an_error_leaves_the_old_folder_and_nothing_else(tmp_path, kind, error):
    path = tmp_path / "folder"
    if kind != "absent":
        path.mkdir()
    if kind == "full":
        (path / "old").write_text("old")
    before = sorted(tmp_path.rglob("*"))

    def write():
        with whole_folder(path) as unfinished:
            (unfinished / "half").write_text("new, but hal")
            raise error

    with pytest.raises(error):
        write()
    assert sorted(tmp_path.rglob("*")) == before


def test_a_folder_that_has_filled_meanwhile_stays(tmp_path):
    path = tmp_path / "folder"

    def write():
        with whole_folder(path) as unfinished:
            (unfinished / "new").write_text("new")
            path.mkdir()
            (path / "theirs").write_text("theirs")

    with pytest.raises(OSError, match="not empty"):
        write()
    assert sorted(tmp_path.rglob("*")) == [path, path / "theirs"]
