"""Random options and configs of ``fit``: they are taken, or refused in one line with exit status 2, before training."""

import io
import json
import traceback
import warnings
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import numpy as np
import pytest
import yaml

from lit_gen.cli.app import CLI, main

BASES = ["gan_digits", "wgan_gp_digits", "vae_digits", "autoencoder_kl_digits"]
CLASSES = ["GAN", "VAE", "gan", "R1", "Hinge", "DigitsDataModule", "MLPGenerator", "MLPEncoder", "torch.optim.Adam"]
CLASSES += [
    "WGANRMSprop",
    "os.system",
    "lit_gen",
    "lit_gen.modules",
    "lit_gen.GAM",
    ".",
    "a.b.c",
    "Bernoulli",
    "object",
]
SCALARS = ["-1", "0", "1", "7", "0.5", "-0.5", "1e308", "1e999", ".nan", ".inf", "true", "false", "null", "", "x", "~"]
SCALARS += [
    "auto",
    "cuda",
    "tpu",
    "16-mixed",
    "64",
    "\x7f",
    "ü",
    " ",
    "../..",
    "-",
    "--",
    "=",
    "[",
    "{",
    "}",
    "'",
    '"',
    "%",
]
SCALARS += [
    "&a",
    "*a",
    "!!python/object:os.system",
    "!x 1",
    "a: b",
    "a: b: c",
    "? x",
    "@",
    "`",
    "#",
    "|",
    "${x}",
    "{{x}}",
]
NESTED = [
    [],
    {},
    [[]],
    [1, "x"],
    {"a": 1},
    {"a": {"b": [{}]}},
    {"class_path": None},
    {"class_path": "R1", "init_args": 3},
]
NESTED += [{"class_path": ["GAN"]}, {"init_args": {}}, {"class_path": "GAN", "init_args": {"latent_dim": {}}}]
NESTED += [{"class_path": "GAN", "dict_kwargs": {"x": 1}}, {"class_path": "os.system", "init_args": {"command": "x"}}]
NESTED += [{"class_path": "Hinge", "x": 1}, [{"class_path": "EarlyStopping"}], [None], {"": None}, {"1": {}}]
WHOLE = [
    "a: [",
    "- 1\n- 2\n",
    "%",
    "a: &x [*x]\n",
    "3\n",
    "null\n",
    "model: 3\n",
    "trainer: []\n",
    "? [a]\n: 1\n",
    "\t",
    "{}",
]
WHOLE += [
    "model: {class_path: GAN, class_path: VAE}\n",
    "1: 2\n",
    "null: 3\n",
    "model:\n  1: 2\n",
    "[[[[",
    "x: !!set {a}\n",
]
WHOLE += [
    "fit: {model: GAN}\n",
    "!!binary x\n",
    "a: 2001-13-45\n",
    "<<: 3\n",
    "---\na: 1\n---\nb: 2\n",
    "model: !!float x\n",
]
SHORT = ["--trainer.max_steps=1", "--trainer.accelerator=cpu", "--trainer.enable_progress_bar=false"]


class BuiltAlone(CLI):
    """All of a run up to its first step."""

    def _run_subcommand(self, subcommand):
        self._close("failed")


def command(arguments, cli=BuiltAlone):
    """Exit status, output and error of the command; an exception is a fault."""
    out, err, status = io.StringIO(), io.StringIO(), 0
    with redirect_stdout(out), redirect_stderr(err), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            main(arguments, cli)
        except SystemExit as stop:
            status = stop.code or 0
    return status, out.getvalue(), err.getvalue()


@pytest.fixture(scope="module")
def configurations():
    """What each base config comes to: every option of it."""
    return {base: yaml.safe_load(command(["fit", "--config", base, "--print_config"])[1]) for base in BASES}


def places(value, prefix=()):
    for key, item in value.items() if isinstance(value, dict) else ():
        yield (*prefix, key)
        yield from places(item, (*prefix, key))


def pick(rng, choices):
    return choices[int(rng.integers(len(choices)))]


def misspelt(rng, name):
    """A letter left out, doubled, exchanged or put in, in another case, a part more or less; or the name."""
    i = int(rng.integers(len(name)))
    changes = [name[:i] + name[i + 1 :], name[:i] + name[i] + name[i:], name[:i] + pick(rng, "x.-_ =[1") + name[i:]]
    changes += [
        name.upper(),
        f"{name}.x",
        f"{name}.init_args.x",
        f"{name}.class_path",
        f"{name}+",
        name.rpartition(".")[0],
    ]
    return pick(rng, [*changes, name, name, name, name, name, name])


def value_of(rng, nested=True):
    kind = int(rng.integers(4 if nested else 3))
    return pick(rng, SCALARS) if kind < 2 else pick(rng, CLASSES) if kind == 2 else pick(rng, NESTED)


def options(rng, names):
    """One to three options, as one word or two, or without a value."""
    result = []
    for _ in range(int(rng.integers(1, 4))):
        name, value = "--" + misspelt(rng, pick(rng, names)), value_of(rng)
        value = value if isinstance(value, str) else json.dumps(value)
        result += pick(rng, [[f"{name}={value}"], [f"{name}={value}"], [name, value], [name]])
    return result


def config(rng, whole):
    """The text of a config with places changed, misspelt or taken away; or of no config at all."""
    if rng.random() < 0.2:
        return pick(rng, WHOLE)
    changed = json.loads(json.dumps(whole))
    for _ in range(int(rng.integers(1, 4))):
        *parents, last = pick(rng, list(places(whole)))
        place = changed
        for key in parents:
            place = place.get(key) if isinstance(place, dict) else None
        if isinstance(place, dict):
            before = place.pop(last, None)
            if rng.random() < 0.9:
                place[misspelt(rng, last)] = before if rng.random() < 0.3 else value_of(rng)
    text = yaml.safe_dump(changed)
    return text[: int(rng.integers(len(text)))] if rng.random() < 0.1 else text


def attempt(seed, configurations):
    """One random command; whether it was taken."""
    rng = np.random.default_rng(seed)
    base = pick(rng, BASES)
    whole = configurations[base]
    arguments = ["fit", "--config", base]
    if rng.random() < 0.5:
        Path("config.yaml").write_text(config(rng, whole))
        arguments[-1] = "config.yaml"
    else:
        names = [".".join(p for p in place if p != "init_args") for place in places(whole)]
        arguments += options(rng, names)
    status, _, err = command([*arguments, *SHORT])
    assert status in (0, 2), (arguments, status, err)
    if status:
        assert err.count("lit-gen: error: ") == 1, (arguments, err)
        assert "Traceback" not in err, (arguments, err)
        assert err.splitlines()[-1].startswith("lit-gen: error: "), (arguments, err)
    assert not list(Path().glob("runs/*/*")), arguments
    return status == 0


def test_some(configurations, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    taken = [attempt(seed, configurations) for seed in range(12)]
    assert not all(taken)


@pytest.mark.parametrize("value", ["!!float x", "!!bool x", "!!timestamp x", "!!int ''", "2001-13-45"])
def test_a_value_that_does_not_fit_its_tag(value, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("config.yaml").write_text(f"model: {value}\n")
    for arguments in (["--config", "config.yaml"], ["--config", "gan_digits", f"--model={value}"]):
        status, _, err = command(["fit", *arguments, *SHORT])
        assert status == 2
        assert err.count("\n") == 1
        assert err.startswith("lit-gen: error: ")


@pytest.mark.slow
def test_a_thousand(configurations, tmp_path, monkeypatch):
    """All of them, so that one run names every failure."""
    monkeypatch.chdir(tmp_path)
    taken, failures = 0, []
    for seed in range(1000):
        try:
            taken += attempt(seed, configurations)
        except Exception as error:  # noqa: PERF203
            failures.append(f"seed {seed}\n{''.join(traceback.format_exception(error)[-3:])}")
    assert not failures, f"{len(failures)} failures\n" + "\n\n".join(failures)
    assert 10 < taken < 900
