"""``lit-gen invert``, ``directions``, ``video`` and what ``sample`` makes of them, as their user meets them."""

import json
import re

import numpy as np
import pytest
import torch
from PIL import Image

import lit_gen
from lit_gen.cli.app import main
from lit_gen.distributions.latents import slerp
from lit_gen.latent_space import load_direction
from lit_gen.models import AutoencoderKL, CycleGAN

FEW = ["--starts", "2", "--steps", "20"]


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Samples and directions of shipped models, latents of two groups, a model without latents."""
    folder, patch = tmp_path_factory.mktemp("world"), pytest.MonkeyPatch()
    patch.chdir(folder)
    main(["sample", "cgan_digits", "-n", "6", "--labels", "3", "7", "--out", "own.npz"])
    np.savez("unlabelled.npz", images=np.load("own.npz")["images"])
    main(["sample", "wgan_gp_mnist", "-n", "2", "--out", "large.npz"])
    main(["directions", "gan_digits", "--count", "2", "--out", "found"])
    random = np.random.default_rng(0)
    for name in ("a", "b"):
        np.savez(f"{name}.npz", latents=random.normal(size=(20, 32)).astype(np.float32) + 3 * (name == "b"))
    labels = np.arange(20) % 2
    np.savez("ab.npz", latents=random.normal(size=(20, 32)), labels=labels, class_names=np.array(["cat", "dog"]))
    lit_gen.save_pretrained(CycleGAN((3, 16, 16)), "cycle")
    patch.undo()
    return folder


@pytest.fixture(autouse=True)
def there(world, monkeypatch):
    monkeypatch.chdir(world)


def test_latents_and_reconstructions_of_own_samples(world, capsys):
    main(["invert", "cgan_digits", "own.npz", "--out", "inverted/z.npz", "--starts", "2", "--psnr", "35"])
    out = capsys.readouterr().out
    arrays, own = np.load("inverted/z.npz"), np.load("own.npz")
    assert re.findall(r"image (\d): ", out) == list("012345")
    assert arrays["labels"].tolist() == own["labels"].tolist() == [3, 7, 3, 7, 3, 7]
    assert (arrays["psnr"] >= 35).sum() >= 5
    model = lit_gen.from_pretrained("cgan_digits", training=False)
    images = model.generate(torch.from_numpy(arrays["latents"]), torch.from_numpy(arrays["labels"]))[:, 0].numpy()
    error = np.square(images - (own["images"] / 127.5 - 1)).mean((1, 2))
    np.testing.assert_allclose(arrays["psnr"], 10 * np.log10(4 / error), rtol=1e-3)
    grid = np.asarray(Image.open("inverted/z.png"))
    assert grid.shape == (2 * 50 - 2, 6 * 50 - 2)
    assert np.array_equal(grid[:48:6, :48:6], own["images"][0])
    best = int(arrays["psnr"].argmax())
    assert np.abs(grid[50::6, 50 * best : 50 * best + 48 : 6].astype(int) - own["images"][best]).max() <= 40


def test_classes_that_the_data_do_not_say_are_said(world, capsys):
    main(["invert", "cgan_digits", "unlabelled.npz", "--labels", "7", "3", "-n", "3", "--out", "seven.npz", *FEW])
    arrays = np.load("seven.npz")
    assert arrays["labels"].tolist() == [7, 3, 7]
    assert arrays["class_names"].tolist() == [str(i) for i in range(10)]


def test_many_images_are_summed_up(capsys):
    np.savez("many.npz", images=np.random.default_rng(0).integers(0, 256, (70, 8, 8), np.uint8))
    main(["invert", "vae_digits", "many.npz", "--starts", "1", "--steps", "2", "--out", "many_z.npz"])
    told = capsys.readouterr()
    assert "64 of 70 images" in told.err
    assert re.search(r"PSNR of 70 images: median .* dB, 5 % of them below .*; 0\.0 % above 40 dB", told.out)
    assert Image.open("many_z.png").size == (8 * 50 - 2, 16 * 50 - 2)  # the first 64


def test_latents_of_an_autoencoder(world):
    torch.manual_seed(0)
    lit_gen.save_pretrained(AutoencoderKL((1, 8, 8)), "autoencoder")
    for command in ("invert", "encode"):
        main([command, "autoencoder", "own.npz", "--out", f"{command}.npz"])
    assert np.array_equal(np.load("invert.npz")["latents"], np.load("encode.npz")["latents"])


def test_directions_and_their_pictures(world, capsys):
    main(["directions", "gan_digits", "--groups", "a.npz", "b.npz", "--methods", "means", "svm", "--out", "two"])
    main(["directions", "gan_digits", "--groups", "ab.npz", "--count", "3", "--out", "classes"])
    description = json.loads((world / "classes" / "directions.json").read_text())
    names = [f"{kind}_{i}" for kind in ("sefa", "pca") for i in range(3)] + ["means_cat", "means_dog"]
    assert list(description["directions"]) == names
    assert description["model"]["source"] == "gan_digits"
    model = lit_gen.from_pretrained("gan_digits", training=False)
    latents = [torch.from_numpy(np.load(f"{name}.npz")["latents"]) for name in "ab"]
    expected = torch.nn.functional.normalize(latents[1].mean(0) - latents[0].mean(0), dim=0)
    torch.testing.assert_close(load_direction("two/means", model), expected)
    assert Image.open("classes/sefa.png").size == (7 * 50 - 2, 3 * 2 * 50 - 2)
    assert sorted(path.name for path in (world / "two").glob("*.png")) == ["means.png", "svm.png"]
    assert "means_cat, means_dog" in capsys.readouterr().out


def test_samples_along_a_direction(world):
    options = ["-n", "6", "--steps", "3", "--strength", "-1", "2", "--seed", "4", "--out", "along.npz"]
    main(["sample", "gan_digits", "--direction", "found/pca_1", *options])
    model = lit_gen.from_pretrained("gan_digits", training=False)
    z = torch.randn(2, model.latent_dim, generator=torch.Generator().manual_seed(4))
    d = load_direction("found/pca_1", model)
    rows = torch.cat([z[i] + torch.tensor([-1.0, 0.5, 2.0])[:, None] * d for i in range(2)])
    expected = (model.generate(rows)[:, 0].numpy() + 1) * 127.5
    assert np.abs(expected - np.load("along.npz")["images"]).max() <= 0.51


def frames_of(path):
    with Image.open(path) as video:
        frames = []
        for i in range(video.n_frames):
            video.seek(i)
            frames.append(np.asarray(video.convert("L")).astype(int))
        return frames, video.info["duration"]


def test_a_video_of_closed_paths(world):
    options = ["-n", "1", "--keys", "2", "--frames", "12", "--fps", "10", "--seed", "3", "--video", "loop.webp"]
    main(["sample", "gan_digits", "--interpolate", *options])
    frames, duration = frames_of("loop.webp")
    assert (len(frames), duration) == (12, 100)
    model = lit_gen.from_pretrained("gan_digits", training=False)
    a, b = torch.randn(2, 1, model.latent_dim, generator=torch.Generator().manual_seed(3))
    for frame, z in ((0, a), (3, slerp(a, b, 0.5)), (6, b), (11, slerp(b, a, 5 / 6))):
        expected = (model.generate(z)[0, 0].numpy() + 1) * 127.5
        assert np.abs(frames[frame][::6, ::6] - expected).max() <= 2
    steps = [np.abs(a - b).mean() for a, b in zip(frames, [*frames[1:], frames[0]], strict=True)]
    assert steps[-1] < 2 * np.median(steps)


def test_a_video_there_and_back(world):
    main(["sample", "gan_digits", "--direction", "found/sefa_0", "-n", "4", "--frames", "6", "--video", "there.gif"])
    frames, duration = frames_of("there.gif")
    assert (len(frames), duration) == (6, 50)
    assert np.array_equal(frames[1], frames[5])
    assert not np.array_equal(frames[0], frames[3])


def test_a_runs_pictures_over_time(world, capsys):
    folder = world / "run" / "samples"
    folder.mkdir(parents=True)
    for step in (20, 3, 100):
        Image.new("L", (4, 6), step).save(folder / f"step_{step:06d}.png")
    Image.new("L", (9, 9)).save(folder / "test.png")
    main(["video", "run", "--out", "run.gif", "--fps", "2", "--hold", "1"])
    frames, duration = frames_of("run.gif")
    assert [frame[0, 0] for frame in frames] == [3, 20, 100]
    assert duration == 1500
    assert "3 pictures, steps 3 to 100, in run.gif" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["invert", "cycle", "own.npz"], "cycle: a CycleGAN has no latents to find"),
        (["invert", "cgan_digits", "large.npz"], r"large.npz: images of shape \(1, 28, 28\), not \(1, 8, 8\)"),
        (["invert", "cgan_digits", "unlabelled.npz"], "unlabelled.npz: no labels"),
        (["invert", "gan_digits", "own.npz", "--labels", "3"], r"--labels \[3\].*unconditional"),
        (["invert", "gan_digits", "own.npz", "--starts", "0"], "--starts 0: from 1"),
        (["invert", "gan_digits", "own.npz", "--psnr", "-1"], "--psnr -1.0: a positive"),
        (["invert", "gan_digits", "own.npz", "-n", "0"], "-n 0: at least 1"),
        (["invert", "gan_digits", "own.npz", "--out", "z.png"], "--out z.png: an .npz file"),
        (["directions", "cycle", "--out", "new"], "cycle: a CycleGAN has no network"),
        (["directions", "gan_digits", "--out", "found"], "--out found: exists already"),
        (["directions", "gan_digits", "--out", "new", "--count", "0"], "--count 0"),
        (["directions", "gan_digits", "--out", "new", "--layer", "x"], "--layer x: this MLPGenerator has join, layers"),
        (["directions", "gan_digits", "--out", "new", "--methods", "svm"], "--methods svm: needs --groups"),
        (["directions", "gan_digits", "--out", "new", "--groups", "own.npz"], "--groups own.npz: holds no latents"),
        (["directions", "vae_digits", "--out", "new", "--groups", "a.npz"], r"a.npz: latents .*\(N, 16\)"),
        (["directions", "gan_digits", "--out", "new", "--groups", "a.npz"], "--groups a.npz: latents of 1 class"),
        (["sample", "gan_digits", "--direction", "found/sefa_7"], "--direction found/sefa_7: name one of.*sefa_0"),
        (["sample", "gan_digits", "--direction", "nowhere/sefa_7"], "--direction nowhere: holds no directions"),
        (["sample", "cgan_digits", "--direction", "found/sefa_0"], "found/sefa_0: of another model.*gan_digits"),
        (["sample", "gan_digits", "--direction", "found/sefa_0", "--interpolate"], "not together with --interpolate"),
        (["sample", "gan_digits", "--strength", "0", "1"], "--strength 0 1: for --direction alone"),
        (["sample", "gan_digits", "--frames", "9"], "--frames 9: for --video alone"),
        (["sample", "gan_digits", "--video", "a.gif"], "--video a.gif: needs --interpolate or --direction"),
        (["sample", "gan_digits", "--interpolate", "--video", "a.avi"], "--video a.avi: a video is a .gif"),
        (["sample", "gan_digits", "--interpolate", "--video", "a.gif", "--out", "b.png"], "in the place of --out b"),
        (["sample", "gan_digits", "--interpolate", "--video", "a.gif", "--keys", "1"], "--keys 1: at least 2"),
        (["video", "nowhere"], "nowhere: there is no such folder"),
        (["video", "found"], "found: holds no samples/step_<step>.png"),
    ],
)
def test_bad_requests_are_one_line_and_write_nothing(world, capsys, arguments, told):
    before = sorted(world.rglob("*"))
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
    error = capsys.readouterr().err.strip().splitlines()
    assert re.search(told, error[-1])
    assert [line for line in error if "error" in line] == error[-1:]
    assert sorted(world.rglob("*")) == before
