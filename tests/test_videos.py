"""Videos read back: frames, times, pixels."""

import os
import stat

import numpy as np
import pytest
from PIL import Image

from lit_gen.videos import save_video

GREY = [np.random.default_rng(i).integers(0, 256, (11, 7), np.uint8) for i in range(5)]
COLOUR = [np.random.default_rng(i).integers(0, 256, (11, 7, 3), np.uint8) for i in range(5)]


def read(path):
    """Frames, and their milliseconds."""
    with Image.open(path) as video:
        frames, times = [], []
        for i in range(video.n_frames):
            video.seek(i)
            frames.append(np.asarray(video.convert("RGB")))
            times.append(video.info["duration"])
        assert video.info["loop"] == 0
    return frames, times


@pytest.mark.parametrize("suffix", [".gif", ".webp"])
@pytest.mark.parametrize("frames", [GREY, COLOUR], ids=["grey", "colour"])
def test_frames_and_times_come_back(tmp_path, suffix, frames):
    save_video(tmp_path / f"a{suffix}", frames, 8, hold=1.5)
    found, times = read(tmp_path / f"a{suffix}")
    each = 120 if suffix == ".gif" else 125  # hundredths of a second
    assert times == [each] * 4 + [each + 1500]
    exact = suffix == ".webp" or frames is GREY  # a GIF has 256 colours a frame; these have 77
    for frame, expected in zip(found, frames, strict=True):
        assert exact or len(np.unique(expected.reshape(-1, 3), axis=0)) <= 256
        wanted = expected if expected.ndim == 3 else np.stack([expected] * 3, 2)
        assert np.abs(frame.astype(int) - wanted).max() <= (0 if exact else 8)
    assert [path.name for path in tmp_path.iterdir()] == [f"a{suffix}"]


def program(folder, text, monkeypatch):
    """An ffmpeg of that text, alone on the path."""
    path = folder / "ffmpeg"
    path.write_text(f"#!{os.sys.executable}\n{text}")
    path.chmod(path.stat().st_mode | stat.S_IEXEC)
    monkeypatch.setenv("PATH", str(folder))


def test_ffmpeg_gets_all_pixels_and_what_it_writes_is_taken(tmp_path, monkeypatch):
    (tmp_path / "bin").mkdir()
    text = (
        "import sys\nopen(sys.argv[-1], 'wb').write(' '.join(sys.argv[1:-1]).encode() + b'|' + sys.stdin.buffer.read())"
    )
    program(tmp_path / "bin", text, monkeypatch)
    save_video(tmp_path / "a.mp4", COLOUR, 10, hold=0.2)
    options, _, pixels = (tmp_path / "a.mp4").read_bytes().partition(b"|")
    assert b"-pix_fmt rgb24 -s 7x11 -r 10 -i -" in options
    assert pixels == b"".join(frame.tobytes() for frame in [*COLOUR, COLOUR[-1], COLOUR[-1]])


def test_what_ffmpeg_says_is_told_and_nothing_is_left(tmp_path, monkeypatch):
    (tmp_path / "bin").mkdir()
    program(tmp_path / "bin", "import sys\nsys.stdin.buffer.read()\nsys.exit('no such codec')", monkeypatch)
    with pytest.raises(ValueError, match=r"a\.mp4: ffmpeg could not write it: no such codec"):
        save_video(tmp_path / "a.mp4", GREY, 10)
    assert not (tmp_path / "a.mp4").exists()


def test_what_is_no_video(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    for name, fps, told in (
        ("a.avi", 10, r"a video is a \.gif, \.webp or \.mp4 file"),
        ("a.gif", 0, "0 frames a second"),
        ("a.gif", 51, "51 frames a second; more than 0, and at most 50"),
        ("a.mp4", 10, r"\.mp4 needs the program ffmpeg, which is not installed"),
    ):
        with pytest.raises(ValueError, match=told):
            save_video(tmp_path / name, GREY, fps)
    with pytest.raises(ValueError, match="frames of 2 shapes"):
        save_video(tmp_path / "a.gif", [GREY[0], COLOUR[0]], 10)
    with pytest.raises(ValueError, match="frames of 0 shapes"):
        save_video(tmp_path / "a.gif", [], 10)
    assert not list(tmp_path.iterdir())
