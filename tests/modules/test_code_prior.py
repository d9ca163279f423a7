"""Priors of codes: probabilities that sum to one, samples by them, the training's invariances."""

import math
import shutil
from functools import partial

import lightning.pytorch as L
import numpy as np
import pytest
import torch
from digit_codes import LEVELS, DigitCodes
from invariances import assert_invariant, fit, seeded
from latent_folders import encoded
from scipy.stats import chisquare
from torch import nn

import lit_gen
from datamodules import LatentDataModule
from lit_gen import CodePrior, from_pretrained, save_pretrained
from lit_gen.cli.app import main
from lit_gen.networks import CodeTransformer
from lit_gen.optimizers import TransformerAdamW
from lit_gen.pretrained.codec import read_codec
from lit_gen.schedulers import WarmUp

SMALL = partial(CodeTransformer, width=8, depth=1, heads=2)
CODES = torch.cartesian_prod(*[torch.arange(3)] * 4).view(81, 2, 2)  # all there are of 2 x 2 of three


def tiny(**options):
    """A prior of 2 x 2 codes of three, far from uniform."""
    torch.manual_seed(0)
    model = CodePrior((2, 2), 3, SMALL, **options)
    for weights in model.prior.parameters():
        nn.init.normal_(weights, std=0.7)
    return model


def of_digits(network=SMALL, **options):
    options = {"ema_half_life": 200, **options}
    return CodePrior((4, 4), LEVELS, network, optimizer=partial(TransformerAdamW, lr=1e-2), **options)


def conditional(network=SMALL, **options):
    options = {"scheduler": partial(WarmUp, updates=5, decay=40), **options}
    return of_digits(network, num_classes=10, conditional=True, **options)


def spoil(module, batch):
    nats = module.code_nats
    module.code_nats = lambda *inputs: nats(*inputs) * math.nan


@pytest.mark.parametrize("make", [of_digits, conditional])
def test_the_four_invariances(make, assert_same, tmp_path):
    assert_invariant(make, {"accumulate": 2}, assert_same, tmp_path, DigitCodes, spoil)


@pytest.mark.parametrize("labelled", [False, True])
def test_probabilities_of_all_images_sum_to_one(labelled):
    model = tiny(num_classes=2, conditional=labelled).double()
    for label in (0, 1) if labelled else (None,):
        labels = () if label is None else (torch.full((81,), label),)
        total = model.log_prob(CODES, *labels).exp().sum()
        torch.testing.assert_close(total, torch.ones((), dtype=torch.float64), rtol=1e-12, atol=0)


def test_likelihoods_are_those_of_the_chain_rule():
    """Code after code, of the distributions that samples come from."""
    model, seen = tiny().double().eval(), []
    image = CODES[50:51].flatten(1)

    def choose(logits, position):
        seen.append(logits.log_softmax(1)[0, image[0, position]])
        return image[:, position]

    model.prior.drawn(1, choose)
    torch.testing.assert_close(model.log_prob(CODES[50:51])[0], torch.stack(seen).sum())


def counted(model, n, labels=None):
    """How often each of the 81 was drawn."""
    drawn = model.sample(n, labels, torch.Generator().manual_seed(3), decode=False).flatten(1)
    return (drawn @ torch.tensor([27, 9, 3, 1])).bincount(minlength=81).double()


def frequent(probability, n):
    """Of sets that are expected five times or more, and all other possible ones together."""
    often = probability * n >= 5
    rest = [~often] if probability[~often].sum() > 0 else []
    return lambda x: [*x[often].tolist(), *(x[others].sum().item() for others in rest)]


@pytest.mark.parametrize("label", [None, 0, 1])
def test_samples_have_their_probabilities(label):
    labelled, n = label is not None, 20_000
    model = tiny(num_classes=2, conditional=labelled)
    labels = (torch.full((81,), label),) if labelled else ()
    probability = model.double().log_prob(CODES, *labels).exp()
    gathered = frequent(probability, n)
    assert chisquare(gathered(counted(model.float(), n, label)), gathered(probability * n)).pvalue > 0.01


def test_sharper_samples_have_the_sharper_probabilities():
    """By hand: each code's probabilities squared and of the two most probable, normalised again."""
    n, model = 20_000, tiny(temperature=0.5, top_k=2).double().eval()
    sequences = CODES.flatten(1)
    p = model.prior(sequences).softmax(2).square()
    p = torch.where(p >= p.topk(2, 2).values[..., 1:], p, 0.0)
    p = (p / p.sum(2, keepdim=True)).gather(2, sequences[..., None])[..., 0].prod(1)
    gathered = frequent(p, n)
    counts = counted(model.float(), n)
    assert counts[p == 0].sum() == 0
    assert chisquare(gathered(counts), gathered(p * n)).pvalue > 0.01


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_it_learns_the_codes_of_digits_and_logs_their_likelihood(precision):
    """Of known classes, better than any model without them whose codes don't depend on each other."""
    network = partial(CodeTransformer, width=16, depth=2, heads=2)
    model = seeded(partial(conditional, network, ema_half_life=None, scheduler=None))
    fit(model, max_steps=100, data=DigitCodes, precision=precision)
    data = DigitCodes(batch_size=32)
    data.setup("test")
    images, labels = data.dataset("test").__getitems__(list(range(300)))
    codes = data.to_float(images)
    frequency = nn.functional.one_hot(codes, LEVELS).double().mean(0)
    independent = -torch.special.xlogy(frequency, frequency).sum().item()  # nats of an image
    nats = -model.log_prob(codes, labels).mean().item()
    assert nats < 0.97 * independent
    trainer = L.Trainer(logger=False, enable_progress_bar=False, enable_model_summary=False, accelerator="cpu")
    (logged,) = trainer.test(model, datamodule=data, verbose=False)
    assert logged["test/nats_per_code"] == pytest.approx(nats / 16, rel=1e-5)
    assert logged["test/bits_per_code"] == pytest.approx(nats / 16 / math.log(2), rel=1e-5)


def test_it_is_saved_and_loaded(tmp_path):
    model = conditional().eval()
    save_pretrained(model, tmp_path / "model")
    again = from_pretrained(tmp_path / "model", training=False)
    drawn = [m.sample(8, 3, torch.Generator().manual_seed(0), decode=False) for m in (model, again)]
    assert torch.equal(*drawn)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return encoded(tmp_path_factory.mktemp("encoded"), "codes", flip=False)


def of_codec(**options):
    return CodePrior((4, 4), 300, SMALL, **options)


def test_its_codec_draws_pictures_wherever_it_goes(root, tmp_path):
    torch.manual_seed(0)
    data = LatentDataModule(str(shutil.copytree(root, tmp_path / "codes")), batch_size=16)
    model = lit_gen.fit(of_codec(), data, max_steps=3, enable_progress_bar=False)
    codes, images = (model.sample(5, generator=torch.Generator().manual_seed(1), decode=d) for d in (False, True))
    assert (codes.dtype, codes.shape, images.shape) == (torch.int64, (5, 4, 4), (5, 1, 8, 8))
    assert torch.equal(images, model.codec.decode(codes))
    scores = lit_gen.evaluate(model, data, num_samples=50, enable_progress_bar=False)
    assert scores["test/fd_digits_50"] > 0
    nats = -model.log_prob(model.codec.encode(images)).mean().item()
    bits = model.measures(torch.tensor(nats / 16))
    assert bits["bits_per_pixel"].item() == pytest.approx(nats / math.log(2) / 64)
    assert scores["test/bits_per_pixel"] == pytest.approx(scores["test/bits_per_code"] * 16 / 64)
    save_pretrained(model, tmp_path / "model")
    shutil.rmtree(tmp_path / "codes")
    again = from_pretrained(tmp_path / "model", training=False)
    assert torch.equal(again.sample(5, generator=torch.Generator().manual_seed(1)), images)


def test_it_samples_from_the_command_line_and_says_what_it_cannot_do(root, tmp_path, capsys):
    model = of_codec()
    model.codec = read_codec(LatentDataModule(str(root)).encoded)
    path = str(tmp_path / "prior")
    save_pretrained(model, path)
    drawn = {}
    for name, options in {"own": (), "sharp": ("--temperature", "0.01"), "first": ("--top_k", "1")}.items():
        main(["sample", path, "-n", "6", *options, "--out", str(tmp_path / f"{name}.npz")])
        drawn[name] = np.load(tmp_path / f"{name}.npz")["images"]
    assert drawn["own"].shape == (6, 8, 8)
    assert (drawn["first"] == drawn["first"][:1]).all()
    assert (drawn["own"] != drawn["first"]).any()
    suffixes = {"export": ".onnx", "invert": ".npz"}
    for told, command in {
        "no network of a CodePrior works by itself; --format safetensors": ("export", path, "--format", "onnx"),
        "top_p=2.0: a share of the probability": ("sample", path, "--top_p", "2"),
        "VQVAE has no prior to sample from; fit a model to its latents, which `lit-gen encode": (
            "sample", f"{path}/codec",
        ),
        "--truncation 0.5: a CodePrior draws codes by quantiles": ("sample", path, "--truncation", "0.5"),
        "--direction found: holds no directions": ("sample", path, "--direction", "found/sefa_0"),
        f"{path}: a CodePrior draws codes, which have no gradient": ("invert", path, "own.npz"),
    }.items():  # fmt: skip
        capsys.readouterr()
        with pytest.raises(SystemExit):
            main([*command, "--out", str(tmp_path / f"x{suffixes.get(command[0], '.png')}")])
        error = capsys.readouterr().err
        assert told in error
        assert error.strip().count("\n") == 0


def test_embeddings_norms_and_biases_do_not_decay():
    model = of_digits()
    model.configure_optimizers()
    decays = {id(p): group["weight_decay"] for group in model._players[0].torch_optimizer.param_groups
              for p in group["params"]}  # fmt: skip
    for name, parameter in model.prior.named_parameters():
        spared = name.endswith("bias") or "norm" in name or name.split(".")[0] in ("start", "code", "place")
        assert decays[id(parameter)] == (0.0 if spared else 0.01), name


def test_it_takes_no_images_and_no_other_codes():
    with pytest.raises(ValueError, match="a CodePrior models codes, and these are images"):
        fit(of_digits(), max_steps=1)
    with pytest.raises(ValueError, match="num_codes=2: the data have 3 codes"):
        fit(CodePrior((4, 4), 2, SMALL), max_steps=1, data=DigitCodes)
    for batch in (torch.zeros(4, 1, 4, 4, dtype=torch.uint8), torch.zeros(4, 4, 4)):
        with pytest.raises(ValueError, match=r"codes of torch\.(uint8|float32) .* takes whole numbers \(N, 4, 4\)"):
            of_digits().training_step((batch, None), 0)


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (partial(CodePrior, (1, 8, 8), 0), r"image_shape=\(1, 8, 8\), num_codes=0: CodePrior models codes"),
        (partial(tiny, temperature=0.0), "temperature=0.0"),
        (partial(tiny, top_k=0), "top_k=0"),
        (partial(tiny, top_p=2.0), "top_p=2.0"),
        (lambda: tiny().log_prob(torch.zeros(2, 3, 2, dtype=torch.int64)), r"indices torch.int64 \(2, 3, 2\)"),
        (lambda: tiny().log_prob(torch.zeros(2, 2, 2)), "indices torch.float32"),
        (lambda: tiny().log_prob(CODES + 1), "indices from 1 to 3: codes are 0 to 2"),
    ],
)
def test_bad_input_is_named_in_one_line(make, told):
    with pytest.raises(ValueError, match=told) as error:
        make()
    assert "\n" not in str(error.value)
