"""A device without float64, as Apple's GPUs are: everything runs there or on the CPU, and has the CPU's values."""

from functools import partial

import pytest
import test_differential_cyclegan as cyclegans
import test_differential_gan as gans
import test_differential_variational as vaes
import torch
from differential import Batches, fit
from fake_device import second_device, trainer_on
from pairs import name_of
from plain_gan import SEED
from test_every_likelihood import EVERY as LIKELIHOODS
from test_every_metric import EVERY as METRICS
from test_every_metric import assert_close
from test_every_prior import EVERY as PRIORS

from lit_gen import CycleGAN, metrics
from lit_gen.metrics import Moments, Neighbours
from lit_gen.networks import (
    BottomUp,
    Ladder,
    MLPEncoder,
    TopDown,
)

close = partial(torch.testing.assert_close, rtol=1e-4, atol=1e-5)


def on(device, *tensors):
    return [x.to(device) for x in tensors]


# Training, samples, embeddings, scores


GANS = [
    gans.PLAIN | changes
    for changes in (
        *({"loss": loss} for loss in gans.FACTORS["loss"]),
        *({"penalty": penalty, "clip": True} for penalty in gans.FACTORS["penalty"]),
        *({"condition": condition} for condition in gans.FACTORS["condition"][1:]),
        *({"unroll": unroll, "clip_norm": True} for unroll in gans.FACTORS["unroll"][1:]),
        {"pack": 2, "d_parts": 2, "g_parts": 3, "noise": "fading", "average": "ramp", "schedule": True},
        {"reuse_fakes": True, "shape": (1, 2, 2), "optimizer": "RMSprop"},
    )
]
VAES = [
    vaes.PLAIN | changes
    for changes in (
        *({"objective": objective, "encoder_steps": 1} for objective in vaes.FACTORS["objective"]),
        *({"prior": prior, "average": True} for prior in vaes.FACTORS["prior"]),
        *({"likelihood": likelihood, "parts": 2} for likelihood in vaes.FACTORS["likelihood"]),
        {"conditional": True, "clip_norm": True},
    )
]
CYCLES = [cyclegans.PLAIN | {"average": True}, cyclegans.PLAIN | {"identity_factor": 0.0, "g_parts": 2}]
TRAINED = {
    **{
        f"gan {name_of(case, gans.PLAIN)}": (partial(gans.build, case), gans.data(case, torch.float32)) for case in GANS
    },
    **{f"vae {name_of(case, vaes.PLAIN)}": (partial(vaes.build, case), vaes.data(torch.float32)) for case in VAES},
    **{
        f"hierarchy {stack.__name__}": (
            partial(vaes.build_hierarchy, stack),
            gans.batches(vaes.SIZES, (1, 4, 4), 3, torch.float32),
        )
        for stack in (BottomUp, Ladder, TopDown)
    },
    **{
        f"cyclegan {i}": (partial(cyclegans.build, case), cyclegans.data(torch.float32))
        for i, case in enumerate(CYCLES)
    },
}


def used(module, batch):
    """What the module says of images and noise, with them where it is."""
    if isinstance(module, CycleGAN):
        images = batch["a"][0]
        return [module.translate(images), module.cycle(images), module.predict_step({"a": (images, None)}, 0)]
    images, labels = batch
    condition = (labels,) if module.conditional else ()
    found = [module.sample(len(images), *condition, generator=torch.Generator().manual_seed(0))]
    if hasattr(module, "encode"):
        return [*found, module.encode(images, *condition), module.observe(images)]
    return [*found, module.score(images, *condition)]


@pytest.mark.parametrize("name", TRAINED)
def test_every_procedure_trains_and_serves_there(name):
    make, seen = TRAINED[name]
    expected, module = make(), make()
    reference = fit(expected, seen, precision="32-true")
    options = {"max_epochs": 1, "logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    with second_device() as device:
        trainer = trainer_on(device, log_every_n_steps=1, enable_model_summary=False, **options)
        module.seed = SEED
        trainer.fit(module, Batches(seen), Batches(seen[:2]))
        logged = {key: value.item() for key, value in trainer.callback_metrics.items()}
        module.to(device)
        found = [x.cpu() for x in used(module, seen[0])]
        module.cpu()
    close(dict(module.named_parameters()), dict(expected.named_parameters()))
    close(found, used(expected, seen[0]))
    for key, value in reference.callback_metrics.items():
        assert logged[key] == pytest.approx(value.item(), rel=1e-4, abs=1e-4), key


# Parts


@pytest.mark.parametrize("make", PRIORS, ids=lambda make: make.func.__name__)
@pytest.mark.parametrize("size", [5, 60_000])  # the second is above what a mixture's density forms at once
def test_every_prior_has_its_densities_samples_and_gradients_there(make, size):
    torch.manual_seed(0)
    prior, z = make(4, (1, 2, 2)), torch.randn(size, 4)
    encoder = MLPEncoder((1, 2, 2), 4, width=5, depth=1)
    for i in range(20):
        if hasattr(prior, "observe"):
            prior.observe(torch.randn(50, 4) + i % 2)
    found = []
    with second_device() as device:
        for place in ("cpu", device):
            prior.to(place), encoder.to(place), prior.zero_grad()
            here = z.detach().to(place, copy=True).requires_grad_()
            density = prior(encoder).log_prob(here)
            density.sum().backward()
            samples = prior.ex_post(encoder).sample(here.detach(), 0.7)
            gradients = [p.grad for p in prior.parameters() if p.grad is not None]
            found.append([x.detach().cpu() for x in (density, samples, here.grad, *gradients)])
            assert density.device == samples.device == torch.device(place)
        prior.cpu()
    torch.testing.assert_close(found[1], found[0], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("entry", LIKELIHOODS, ids=lambda entry: str(entry.make.func.__name__))
def test_every_likelihood_has_its_densities_samples_and_gradients_there(entry):
    shape, found = (3, 4, 5), []
    torch.manual_seed(0)
    likelihood = entry.make(shape)
    inputs = 2 * torch.rand(2, *shape) - 1, torch.rand(2, *shape), torch.randn(2, *likelihood.parameter_shape)
    with second_device() as device:
        for place in ("cpu", device):
            here = entry.make(shape).to(place)
            images, noise, params = on(place, *inputs)
            params = params.detach().clone().requires_grad_()
            x = here.observe(images, noise)
            nats = here.log_prob(x, params)
            nats.sum().backward()
            rest = [here.mean(params), here.sample(params, noise), here.eval().log_prob(x, params)]
            if here.log_bin_width is not None:
                rest.append(here.bits_per_dim(nats))
            found.append([y.detach().cpu() for y in (x, nats, params.grad, *rest)])
            assert nats.device == torch.device(place)
    close(found[1], found[0])


@pytest.mark.parametrize("entry", METRICS, ids=lambda entry: type(entry.make()).__name__)
def test_every_metric_is_updated_from_there(entry):
    expected, metric = entry.make(), entry.make()
    entry.update(expected, *entry.inputs)
    with second_device() as device:
        entry.update(metric, *on(device, *entry.inputs))
        found = metric.compute()
    assert_close(found, expected.compute(), rtol=1e-5, atol=1e-6)


def probabilities(x):
    return x.flatten().softmax(0)


def densities_and_betas(x):
    return {
        "log_prior": lambda z: -z.square().sum(-1) / 2,
        "log_likelihood": lambda z: -(z - x[:, : z.shape[-1]]).square().sum(-1),
        "start": lambda: 0.5 * x.expand(2, *x.shape),
        "betas": metrics.sigmoid_schedule(4),
        "normal": lambda: x.flip(0).expand(2, *x.shape),
        "uniform": lambda: x[:, 0].sigmoid().expand(2, -1),
    }


# Functions of samples x, data y, and classes of either.
FUNCTIONS = {
    "annealed_importance_sampling": lambda x, y, c: metrics.annealed_importance_sampling(**densities_and_betas(x)),
    "class_frechet": lambda x, y, c: metrics.class_frechet(x, c, y, c),
    "class_transfer": lambda x, y, c: metrics.class_transfer(x, c, y, c),
    "effective_sample_size": lambda x, y, c: metrics.effective_sample_size(x),
    "frechet_distance": lambda x, y, c: metrics.frechet_distance(x.mean(0), x.T.cov(), y.mean(0), y.T.cov()),
    "frechet_infinity": lambda x, y, c: metrics.frechet_infinity(x, Moments.of_rows(y)),
    "frechet_of_moments": lambda x, y, c: metrics.frechet_of_moments(Moments.of_rows(x), Moments.of_rows(y)),
    "js_divergence": lambda x, y, c: metrics.js_divergence(probabilities(x), probabilities(y)),
    "kernel_distance": lambda x, y, c: metrics.kernel_distance(x, y),
    "kernel_distance_of_subsets": lambda x, y, c: metrics.kernel_distance_of_subsets(x, y, subsets=2, size=20),
    "kernel_within": lambda x, y, c: metrics.kernel_within(x),
    "kl_divergence": lambda x, y, c: metrics.kl_divergence(probabilities(x), probabilities(y)),
    "logistic_two_sample_test": lambda x, y, c: metrics.logistic_two_sample_test(x, y),
    "memorisation_distance": lambda x, y, c: metrics.memorisation_distance(x, y),
    "memorisation_informed": lambda x, y, c: metrics.memorisation_informed(
        x, y, Moments.of_rows(x), Moments.of_rows(y)
    ),
    "neighbours": lambda x, y, c: {
        **Neighbours(x, y).precision_recall(),
        **Neighbours(x, y).density_coverage(),
        **Neighbours(x, y).memorisation(),
        **Neighbours(x, y).diversity(),
        **Neighbours(x, y).two_sample_test(),
    },
    "perceptual_path_length": lambda x, y, c: metrics.perceptual_path_length(
        lambda z: z @ x[:3],
        lambda n, generator: torch.randn(n, 3, generator=generator).to(x.device),
        metrics.feature_distance(lambda images: images),
        num_samples=20,
        epsilon=0.1,
    ),
    "reverse_kl": lambda x, y, c: metrics.reverse_kl(c + 1),
    "sinkhorn": lambda x, y, c: metrics.sinkhorn(x, y, epsilon=0.5),
    "sliced_wasserstein": lambda x, y, c: metrics.sliced_wasserstein(x, y[:50]),
    "vendi_score": lambda x, y, c: metrics.vendi_score(x),
    "wasserstein": lambda x, y, c: metrics.wasserstein(x, y),
    "wasserstein on a line": lambda x, y, c: metrics.wasserstein(x[:, 0], y[:50, 0]),
}


OF_NO_ROWS = {  # read and write files, drive networks or combine the others
    "compute_scores", "feature_distance", "importance_sampling", "load_extractor", "published_extractor",
    "read_pickled", "read_stacked", "read_statistics", "save_extractor", "sigmoid_schedule", "to_signed",
    "train_extractor", "write_statistics",
}  # fmt: skip


def test_every_public_function_of_rows_is_listed():
    assert {name for name in metrics.__all__ if name.islower()} - OF_NO_ROWS <= FUNCTIONS.keys()


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_score_of_rows_that_lie_there(name):
    generator = torch.Generator().manual_seed(0)
    inputs = (
        torch.randn(60, 3, generator=generator),
        torch.randn(60, 3, generator=generator) + 0.5,
        torch.arange(60) % 3,
    )
    expected = FUNCTIONS[name](*inputs)
    with second_device() as device:
        found = FUNCTIONS[name](*on(device, *inputs))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
