"""A user's package outside the library is first class: its classes are named in YAML, trained, sampled and scored."""

import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

import lit_gen
from lit_gen.cli.app import main

PACKAGE = Path(__file__).parent / "example_package"
PAGE = (PACKAGE.parent.parent / "docs" / "extending.md").read_text()
SHORT = ["--trainer.max_steps=3", "--trainer.val_check_interval=3", "--trainer.accelerator=cpu"]
SHORT += ["--trainer.enable_progress_bar=false", "--evaluate.num_samples=20", "--samples.num_samples=4"]


@pytest.fixture
def my_models(tmp_path, monkeypatch):
    """The package can be imported, for one test."""
    monkeypatch.syspath_prepend(str(PACKAGE))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path


def test_fit_sample_and_evaluate_from_yaml(my_models, capsys):
    options = ["--model.loss.bound=1", "--model.generator.width=16", "--data.probability=0.5"]
    main(["fit", "-c", str(PACKAGE / "run.yaml"), *SHORT, *options])
    (checkpoint,) = map(str, Path("runs/run").glob("*/checkpoints/last.ckpt"))
    stored = yaml.safe_load(next(Path("runs/run").glob("*/config.yaml")).read_text())
    assert stored["model"]["class_path"] == "my_models.model.TopKGAN"
    assert stored["model"]["init_args"]["loss"] == {
        "class_path": "my_models.loss.TotalVariation",
        "init_args": {"bound": 1.0},
    }
    assert stored["data"]["init_args"]["probability"] == 0.5
    own = ["--model", "my_models.model.TopKGAN", "--ckpt_path", checkpoint]
    main(["test", *own, *SHORT[2:], "--evaluate.extractor=pixels"])
    assert "test/fd_pixels_20" in capsys.readouterr().out
    main(["fit", *own, *SHORT[1:], "--trainer.max_steps=6"])  # goes on, and needs no YAML

    for command in (
        ["sample", checkpoint, "-n", "4", "--out", "a.npz"],
        ["evaluate", checkpoint, checkpoint, "--extractor", "pixels", "--scores", "fd", "--num_samples", "20"],
        ["export", checkpoint, "--format", "safetensors", "--out", "exported"],
    ):
        with pytest.raises(SystemExit):
            main(command)
        assert re.search("outside the trusted packages|--trust its package", capsys.readouterr().err)
        main([*command, "--trust", "my_models"])
        assert command[0] != "evaluate" or "fd_pixels_20" in capsys.readouterr().out
    assert np.load("a.npz")["images"].shape == (4, 8, 8)

    model = lit_gen.from_pretrained(checkpoint, trusted=["my_models"])
    assert (type(model).__name__, model.keep, model.loss.bound) == ("TopKGAN", 0.9, 1.0)
    same = lit_gen.from_pretrained("exported", trusted=["my_models"])
    z = torch.randn(3, 16)
    assert torch.equal(same.decode(z), model.decode(z))
    with pytest.raises(ValueError, match="outside the trusted packages"):
        lit_gen.from_pretrained(checkpoint)


def test_a_likelihood_and_all_else_from_python(my_models):
    from my_models.data import BarsDataModule
    from my_models.likelihood import Laplace
    from my_models.model import TopKGAN
    from my_models.network import LowRankGenerator
    from my_models.prior import LearnedNormal

    data, quiet = BarsDataModule(), {"accelerator": "cpu", "enable_progress_bar": False}
    model = lit_gen.VAE(data.image_shape, latent_dim=2, likelihood=Laplace, prior=LearnedNormal)
    lit_gen.fit(model, data, max_steps=2, **quiet)
    assert model.prior.mean.abs().min() > 0
    assert lit_gen.evaluate(model, data, extractor=None, **quiet)["test/nelbo_nats"] > 0
    lit_gen.save_pretrained(model, "laplace")
    assert lit_gen.from_pretrained("laplace", trusted=["my_models"]).sample(2).shape == (2, 1, 8, 8)
    gan = lit_gen.fit(TopKGAN(data.image_shape, 4, generator=LowRankGenerator), data, max_steps=2, **quiet)
    assert gan.updates == {"discriminator": 2, "generator": 2}


def test_the_formulas(my_models):
    from my_models.data import BarsDataModule
    from my_models.likelihood import Laplace
    from my_models.loss import TotalVariation
    from my_models.model import TopKGAN

    likelihood = Laplace((1,), scale=0.1).double()
    x, mean = torch.linspace(-3, 3, 60_001, dtype=torch.float64)[:, None], torch.full((1,), 0.2, dtype=torch.float64)
    assert torch.trapezoid(likelihood.log_prob(x, mean).exp(), x[:, 0]).item() == pytest.approx(1, abs=1e-6)
    u = (torch.arange(10_000, dtype=torch.float64)[:, None] + 0.5) / 10_000
    assert (likelihood.sample(mean, u) - 0.2).abs().mean().item() == pytest.approx(0.1, rel=0.01)  # E|x − μ| = b

    apart = torch.tensor([50.0, -50.0])
    assert TotalVariation().discriminator(apart[:1], apart[1:]).item() == pytest.approx(-1)
    assert TotalVariation().generator(apart[1:]).item() == pytest.approx(0.5)

    model = TopKGAN((1, 8, 8), 4, keep=0.5)
    z = torch.randn(6, 4)
    scores = model.discriminator(model.generator(z))
    loss, _ = model.generator_game(model.judge(), None, model.generator(z))
    assert torch.allclose(loss, model.loss.generator(scores.sort().values[3:]))
    with pytest.raises(ValueError, match="keep=0"):
        TopKGAN((1, 8, 8), keep=0)

    images, labels = BarsDataModule().dataset("train").__getitems__(list(range(800)))
    rows = (images == images[..., :1]).flatten(1).all(1)
    columns = (images == images[..., :1, :]).flatten(1).all(1)
    assert bool(torch.where(labels == 0, rows, columns).all())


def test_the_page_shows_the_package_as_it_is():
    files = [
        path for path in sorted(PACKAGE.rglob("*")) if path.suffix in (".py", ".yaml") and path.stat().st_size > 60
    ]
    shown = dict(re.findall(r"^`([\w/.]+)`:\n\n```(?:python|yaml)\n(.*?)```$", PAGE, re.DOTALL | re.MULTILINE))
    assert sorted(shown) == sorted(str(path.relative_to(PACKAGE)) for path in files)
    assert all(path.read_text() == shown[str(path.relative_to(PACKAGE))] for path in files)


def test_a_package_that_python_does_not_find_is_named(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for name in [name for name in sys.modules if name.partition(".")[0] == "my_models"]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(SystemExit) as stop:
        main(["fit", "-c", str(PACKAGE / "run.yaml")])
    error = capsys.readouterr().err
    assert stop.value.code == 2
    assert error.count("\n") == 1
    assert "my_models" in error
