import sys
from types import SimpleNamespace

import lightning.pytorch as L
import numpy as np
import pytest
import torch
from lightning.pytorch.loggers.logger import Logger
from PIL import Image
from torch import nn

from datamodules import DigitsDataModule, MixtureDataModule
from lit_gen.callbacks.publish import save_png
from lit_gen.callbacks.samples import SampleGrid, image_grid, scatter


class Model(L.LightningModule):
    def __init__(self, image_shape=(1, 8, 8)):
        super().__init__()
        self.image_shape, self.noise = image_shape, []
        self.layer = nn.Linear(3, torch.Size(image_shape).numel())

    @torch.no_grad()
    def sample(self, n, labels=None, generator=None):
        self.noise.append(torch.randn(n, 3, generator=generator))
        return self.layer(self.noise[-1]).tanh().unflatten(1, self.image_shape)

    def training_step(self, batch, batch_idx):
        return self.layer(torch.ones(3)).sum()

    def validation_step(self, batch, batch_idx):
        pass

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


class ImageLogger(Logger):
    """Takes images as W&B's logger does, or through TensorBoard's writer."""

    name = version = "images"

    def __init__(self, folder, wandb: bool):
        super().__init__()
        self.save_dir, self.images = str(folder), []
        if wandb:
            self.log_image = lambda key, images, step: self.images.append((key, images[0], step))
        else:
            self.experiment = SimpleNamespace(add_image=lambda *arguments: self.images.append(arguments))

    save_dir = None

    def log_hyperparams(self, *args, **kwargs):
        pass

    def log_metrics(self, metrics, step=None):
        pass


def fit(callback, folder, model=None, data=None, **settings):
    settings = {"max_epochs": 1, "limit_train_batches": 2, "limit_val_batches": 1, "logger": False} | settings
    trainer = L.Trainer(
        accelerator="cpu",
        default_root_dir=folder,
        callbacks=[callback],
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        **settings,
    )
    trainer.fit(model or Model(), datamodule=data or DigitsDataModule())
    return sorted(path.name for path in (folder / "samples").glob("*"))


# ---- the picture


def test_grid_of_hand_made_images_is_exact():
    a, b, c = [[-1.0, 0.0], [1.0, 0.5]], [[2.0, -2.0], [-0.5, 0.2]], [[1.0, 1.0], [1.0, 1.0]]
    grid = image_grid(torch.tensor([a, b, c])[:, None], columns=2, cell=3)  # two pixels become four
    one = [[0, 0, 128, 128], [0, 0, 128, 128], [255, 255, 191, 191], [255, 255, 191, 191]]
    two = [[255, 255, 0, 0], [255, 255, 0, 0], [64, 64, 153, 153], [64, 64, 153, 153]]
    expected = torch.full((10, 10), 128)
    expected[:4, :4], expected[:4, 6:], expected[6:, :4] = torch.tensor(one), torch.tensor(two), 255
    assert grid.dtype == torch.uint8
    assert grid.shape == (1, 10, 10)
    assert grid[0].tolist() == expected.tolist()


def test_every_grey_value_of_the_data_comes_back():
    pixels = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16)
    assert image_grid(DigitsDataModule.to_float(pixels), cell=1)[0].equal(pixels[0, 0])


def test_an_image_looks_the_same_whatever_is_beside_it():
    faint, bright = torch.full((1, 1, 8, 8), 0.1), torch.ones(1, 1, 8, 8)
    alone, beside = image_grid(faint), image_grid(torch.cat([faint, bright]), columns=2)
    assert alone.unique().tolist() == [140]
    assert beside[..., : alone.shape[-1]].equal(alone)


@pytest.mark.parametrize(("size", "cell"), [(8, 48), (28, 56), (32, 64), (64, 64), (100, 100)])
def test_cells_have_at_least_48_pixels(size, cell):
    assert image_grid(torch.zeros(4, 3, size, size)).shape == (3, 2 * cell + 2, 2 * cell + 2)


def test_colour_and_type_are_kept_and_broken_values_are_black():
    images = torch.tensor([1.0, 0.0, -1.0]).view(1, 3, 1, 1).expand(1, 3, 4, 4).to(torch.bfloat16)
    assert image_grid(images, cell=4)[:, 0, 0].tolist() == [255, 128, 0]
    assert image_grid(torch.full((1, 1, 4, 4), torch.nan)).unique().tolist() == [0]


@pytest.mark.parametrize("shape", [(0, 1, 8, 8), (4, 2, 8, 8), (4, 8, 8)])
def test_refuses_what_is_no_picture(shape):
    with pytest.raises(ValueError, match=r"expected \(N, C, H, W\) with 1 or 3 channels"):
        image_grid(torch.zeros(shape))


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (3, "RGB")])
def test_png_holds_the_picture(channels, mode, tmp_path):
    picture = torch.randint(256, (channels, 5, 7), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    save_png(tmp_path / "new" / "a.png", picture)
    with Image.open(tmp_path / "new" / "a.png") as image:
        assert image.mode == mode
        assert torch.from_numpy(np.array(image)).view(5, 7, channels).movedim(-1, 0).equal(picture)


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    save_png(tmp_path / "a.png", torch.zeros(1, 2, 2, dtype=torch.uint8))
    before = (tmp_path / "a.png").read_bytes()

    def fail(self, file, **kwargs):
        file.write(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(Image.Image, "save", fail)
    with pytest.raises(OSError, match="disk full"):
        save_png(tmp_path / "a.png", torch.ones(1, 2, 2, dtype=torch.uint8))
    assert (tmp_path / "a.png").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def test_scatter_has_fixed_axes_and_leaves_pyplot_alone():
    data = MixtureDataModule("ring", num_points=200).dataset("train").images
    loaded = "matplotlib.pyplot" in sys.modules
    empty = scatter(torch.full((10, 2), 100.0), data)
    assert (empty.dtype, empty.shape) == (torch.uint8, (3, 600, 600))
    assert scatter(torch.full((10, 2), -50.0), data).equal(empty)  # samples far outside move no axis
    assert not scatter(data[:10], data).equal(empty)
    assert ("matplotlib.pyplot" in sys.modules) == loaded


# ---- the callback


def test_pictures_at_the_start_each_validation_and_the_end(tmp_path):
    model = Model()
    files = fit(SampleGrid(), tmp_path, model, max_epochs=2)
    assert files == ["step_000000.png", "step_000002.png", "step_000004.png"]
    assert all(noise.equal(model.noise[0]) for noise in model.noise)
    assert len(model.noise) == 3  # the end is the last validation's step: not drawn twice
    with Image.open(tmp_path / "samples" / "step_000000.png") as image:
        assert (image.mode, image.size) == ("L", (8 * 48 + 7 * 2, 8 * 48 + 7 * 2))


def test_pictures_show_the_samples(tmp_path):
    model = Model()
    fit(SampleGrid(num_samples=5), tmp_path, model)
    with torch.no_grad():
        last = model.layer(model.noise[-1]).tanh().unflatten(1, model.image_shape)
    with Image.open(tmp_path / "samples" / "step_000002.png") as image:
        assert np.array_equal(np.array(image), image_grid(last)[0].numpy())


def test_every_second_validation_and_the_end(tmp_path):
    files = fit(SampleGrid(every_n_epochs=2), tmp_path, max_epochs=5, num_sanity_val_steps=1)
    assert files == [f"step_{step:06d}.png" for step in (0, 4, 8, 10)]


@pytest.mark.parametrize(("every", "steps"), [(None, (0, 5, 12)), (30.0, (0, 3, 6, 9, 12))])
def test_the_clock_asks_for_pictures_too(tmp_path, monkeypatch, every, steps):
    class Clocked(Model):
        """A batch takes ten seconds."""

        def training_step(self, batch, batch_idx):
            now[0] += 10
            return super().training_step(batch, batch_idx)

    now = [0.0]
    monkeypatch.setattr("lit_gen.callbacks.samples.time", SimpleNamespace(monotonic=lambda: now[0]))
    files = fit(SampleGrid(every_n_seconds=every), tmp_path, Clocked(), limit_train_batches=12, limit_val_batches=0)
    assert files == [f"step_{step:06d}.png" for step in steps]  # the first one within a minute, whatever is asked


def test_an_interval_without_seconds_is_refused():
    with pytest.raises(ValueError, match="every_n_seconds=0"):
        SampleGrid(every_n_seconds=0)


def test_another_seed_other_noise(tmp_path):
    one, two = Model(), Model()
    fit(SampleGrid(), tmp_path, one)
    fit(SampleGrid(seed=1), tmp_path, two)
    assert not one.noise[0].equal(two.noise[0])


def test_points_are_plotted(tmp_path):
    model = Model((2,))
    files = fit(SampleGrid(), tmp_path, model, MixtureDataModule(num_points=3000))
    assert files == ["step_000000.png", "step_000002.png"]
    assert len(model.noise[0]) == 2500
    with Image.open(tmp_path / "samples" / files[0]) as image:
        assert (image.mode, image.size) == ("RGB", (600, 600))
        assert len(image.getcolors(10**6)) > 10


def test_a_fast_dev_run_writes_nothing(tmp_path):
    model = Model()
    assert fit(SampleGrid(), tmp_path, model, fast_dev_run=True) == []
    assert model.noise == []


@pytest.mark.parametrize("wandb", [True, False])
def test_loggers_get_the_picture_at_the_same_step(tmp_path, wandb):
    logger = ImageLogger(tmp_path, wandb)
    fit(SampleGrid(), tmp_path, logger=logger)
    assert [(key, step) for key, _, step in logger.images] == [("samples", 0), ("samples", 2)]
    with Image.open(tmp_path / "samples" / "step_000002.png") as image:
        assert np.array_equal(np.squeeze(logger.images[1][1]), np.array(image))


def test_no_directory_no_file_but_the_loggers_picture(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    logger = ImageLogger(tmp_path, wandb=True)
    logger.save_dir = None
    assert fit(SampleGrid(), tmp_path, logger=logger) == []
    assert len(logger.images) == 2


def test_shapes_that_are_no_picture_are_said_once(tmp_path, caplog):
    with caplog.at_level("INFO"):
        fit(SampleGrid(), tmp_path, Model((2, 8, 8)))
    assert caplog.text.count("no pictures") == 1


@pytest.mark.parametrize("arguments", [{"num_samples": 0}, {"every_n_epochs": 0}])
def test_refuses(arguments):
    with pytest.raises(ValueError, match=f"{next(iter(arguments))}=0: at least 1"):
        SampleGrid(**arguments)


def test_other_processes_draw_nothing(tmp_path):
    model = Model()
    reached = []

    class Second:
        """A trainer of rank 1, whose log_dir is a broadcast that rank 0 waits in."""

        global_step, fast_dev_run, is_global_zero, loggers = 0, False, False, ()

        @property
        def log_dir(self):
            reached.append(1)
            return str(tmp_path)

    SampleGrid()._draw(Second(), model)
    assert reached == [1]
    assert model.noise == []
    assert list(tmp_path.iterdir()) == []
