"""Runs the commands and the Python code of README.md and docs/, shortened, in a folder that has what they speak of.

    python documented.py FOLDER PAGE...

runs all of the pages in FOLDER, with whatever lit-gen this Python has installed.
"""

import os
import pickle
import re
import shlex
import shutil
import sys
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = {"README.md": ROOT / "README.md"}
PAGES |= {path.relative_to(DOCS).as_posix(): path for path in sorted(DOCS.rglob("*.md"))}
PACKAGE = Path(__file__).parent / "example_package"

# Beginnings of lines that are not run at all, and why not.
NOT_RUN = {
    "pip install": "changes the environment; .ci/run does it",
    "python -m pytest": "is this suite",
    "tensorboard --logdir": "serves pages until it is stopped",
    "wandb": "needs a login",
    "torchrun": "needs the other hosts; test_distributed.py runs two nodes on one",
    "lit-gen evaluate photos/ 'runs/photos/": "needs the training above it; test_newcomer.py runs one after the other",
    "lit-gen report runs/photos": "the same",
    "lit-gen explore 'runs/photos/": "the same",
    "lit-gen explore vae_mnist": "serves a page until it is stopped; test_explore_page.py does",
    "python scripts/check_explore_page.py": "needs a browser; test_explore_page.py runs it where there is one",
    "lit-gen sweep": "trains many times in processes of their own; test_sweep.py does",
    "python scripts/lecture": "trains for minutes; test_lecture.py runs every page's computation at reduced length",
    "sbatch": "needs a cluster; test_distributed.py runs the script's options",
}
# Commands whose options alone are read, and why so.
PARSED = {
    "--config wandb": "starts the tracker's client; the tracking's own tests do",
    "--config tensorboard": "needs an optional package; the tracking's own tests do",
    "-c ddp": "starts a group of processes; test_distributed.py does",
    "--trainer.devices 2": "starts a second process; test_distributed.py does",
    "--extractor inception": "needs weights that are published elsewhere",
    "--extractor torchvision": "needs weights that are published elsewhere",
    "--extractor dinov2": "needs weights that are published elsewhere",
    "--model.perceptual LPIPS": "needs weights that are published elsewhere",
    "--data TorchvisionDataModule": "needs a download; test_data_torchvision.py reads files of their formats",
    "evaluate photos/ samples/ --extractor pixels --processes 2": "starts a second process; test_processes.py does",
}
# Pages whose Python is compiled and not run, and why so.
COMPILED = {"tracking.md": "starts the tracker's client on a model made before"}
DEVICE = ["--trainer.accelerator=cpu", "--trainer.enable_progress_bar=false"]
SMALL = ["--trainer.max_steps=2", "--trainer.val_check_interval=2", "--samples.num_samples=4", *DEVICE]
UNSCORED = ["--evaluate.extractor=null", "--checkpoint.monitor=null"]
SHAPES = {"mnist": (28, 28), "cifar10": (32, 32, 3)}  # data that need a download, replaced by arrays of their shape
RUNS = {
    "README.md": "vae",
    "commands.md": "vae",
    "autoencoders.md": "kl",
    "cyclegan.md": "cycle",
    "extending.md": "own",
    "latents.md": "vae",
    "evaluation.md": "vae",
}


NAMED = {"fsq_digits": "fsq", "code_prior_digits": "prior"}  # runs that a page has beside its own


def blocks(page: str, *languages: str) -> list[str]:
    found = re.findall(r"^```(\w*)\n(.*?)^```", PAGES[page].read_text(), re.DOTALL | re.MULTILINE)
    return [block for language, block in found if language in languages]


def lines(page: str) -> list[str]:
    """Every command of the page's shell blocks, without comments."""
    text = "".join(blocks(page, "sh", "bash")).replace("\\\n", " ").replace(" && ", "\n")
    stripped = [shlex.join(shlex.split(line, comments=True)) for line in text.splitlines()]
    return [line.removeprefix("PYTHONPATH=. ") for line in stripped if line]


def prepare(folder: Path) -> None:
    """Make the images, arrays and runs that the pages speak of. The working directory becomes ``folder``."""
    from lit_gen.cli.app import main

    os.chdir(folder)
    random = np.random.default_rng(0)
    for name in ("photos", "maps", "samples", "horses", "zebras", "GENERATED"):
        Path(name).mkdir()
        for i, image in enumerate(random.integers(0, 256, (40, 8, 8), np.uint8)):
            Image.fromarray(image).save(f"{name}/{i:02d}.png")
    Path("celeba").mkdir()
    names = [f"{i + 1:06d}.png" for i in range(40)]
    for name in names:
        shutil.copy("photos/00.png", f"celeba/{name}")
    attributes = [f"{name} {1 - 2 * (i % 2)} {1 - 2 * (i // 2 % 2)}" for i, name in enumerate(names)]
    Path("celeba/list_attr_celeba.txt").write_text("\n".join(["40", "Smiling Male", *attributes]))
    Path("celeba/list_eval_partition.txt").write_text("\n".join(f"{name} {i // 16}" for i, name in enumerate(names)))
    for name, shape in {"images": (8, 8), "real": (8, 8), "samples": (8, 8), **SHAPES}.items():
        images = random.integers(0, 256, (60, *shape), np.uint8)
        np.savez(f"{name}.npz", images=images, labels=np.arange(60) % 10)
    prepare_formats()
    for name in ("statistics", "others"):
        np.savez(f"{name}.npz", mu=np.zeros(4), sigma=np.eye(4))
    Path("img64.pkl").write_bytes(pickle.dumps({"fid": {"mu": np.zeros(4), "sigma": np.eye(4)}}))
    shutil.copytree(PACKAGE / "my_models", "my_models")
    shutil.copy(PACKAGE / "run.yaml", "run.yaml")
    sys.path.insert(0, str(folder))
    for run, options in {
        "vae": ["--config", "vae_digits", "--model.encoder.width=8", "--model.decoder.width=8"],
        "cycle": ["--config", "cyclegan_digits", "--model.generator.width=4", "--model.discriminator.width=4"],
        "own": ["--config", "run.yaml"],
        "kl": ["--config", "autoencoder_kl_digits"],
        "fsq": ["--config", "fsq_digits"],
        "prior": ["--config", "code_prior_digits"],
    }.items():
        if run == "prior":
            main(["encode", "fsq.ckpt", "digits", "--indices", "--out", "codes"])
        main(["fit", *options, *SMALL, *UNSCORED, "--experiment", run])
        (checkpoint,) = Path("runs", run).glob("*/checkpoints/last.ckpt")
        shutil.copy(checkpoint, f"{run}.ckpt")
    main(["encode", "kl.ckpt", "digits", "--flip", "--out", "latents"])
    main(["export", "vae_mnist", "--part", "decoder", "--format", "torch_export", "--out", "decoder.pt2"])
    for run in ("cycle", "own", "kl", "fsq", "prior"):  # one stays, for pages that look at runs
        shutil.rmtree(f"runs/{run}")


def prepare_formats() -> None:
    """Make a table and data bases of pictures."""
    import lmdb
    import pyarrow as pa
    import pyarrow.parquet as pq

    pictures = [path.read_bytes() for path in sorted(Path("photos").iterdir())]
    pq.write_table(pa.table({"image": pictures, "label": [i % 2 for i in range(len(pictures))]}), "pets.parquet")
    for kind in ("bedroom", "tower"):
        folder = Path("lsun", f"{kind}_train_lmdb")
        folder.parent.mkdir(exist_ok=True)
        with lmdb.open(str(folder), map_size=2**24) as opened, opened.begin(write=True) as transaction:
            for i, picture in enumerate(pictures):
                transaction.put(f"{i:05d}".encode(), picture)


def arguments(page: str, line: str) -> list[str]:
    """A command's arguments with the placeholders filled in."""
    run = f"{RUNS.get(page, 'vae')}.ckpt"
    given = shlex.split(line)[1:]
    given = [next((f"{NAMED[name]}.ckpt" for name in NAMED if f"/{name}/" in part), part) for part in given]
    given = [re.sub(r"^runs?/\S*\.ckpt$|^REAL$", run, part) for part in given]
    given = [str(next(Path("runs", "vae").iterdir())) if part == "RUN" else part for part in given]
    if {"--data.a.image_size", "--data.image_size"} & set(given):
        given = ["16" if part == "128" else part for part in given]
    return [str(ROOT / part) if part.startswith("configs/") else part for part in given]


def shortened(given: list[str]) -> list[str]:
    """A run of a few images: one batch, or a step more than the checkpoint's."""
    asks = any(part.endswith((".help", "--help")) or part == "--print_config" for part in given)
    if given[0] == "convert":  # in one process, of data that are there
        given = [f"{part}.npz" if part in SHAPES else "1" if part == "2" else part for part in given]
        return given[: given.index("--root")] if "--root" in given else given
    if given[0] == "extractor":
        return [*given, "--epochs", "1"]
    if asks or given[0] not in ("fit", "validate", "test", "predict"):
        return given
    if "--ckpt_path" in given and given[0] == "fit":
        return [*given, *SMALL, "--trainer.max_steps=3", *UNSCORED]
    data = next((shape for shape in SHAPES if any(part.endswith(shape) for part in given)), None)
    replaced = ["--data=ArrayDataModule", f"--data.path={data}.npz"] if data else []
    steps = ["--trainer.fast_dev_run=true", "--data.batch_size=8", "--evaluate.batch_size=16"]
    return [*given, *replaced, *steps, *DEVICE]


def execute(page: str, line: str) -> None:
    """Run a line, or read its options if it is one of ``PARSED``.

    Raises:
        ValueError: for a program that is not known here.
        SystemExit: for a command that fails.
    """
    if any(line.startswith(beginning) for beginning in NOT_RUN):
        return
    if not line.startswith("lit-gen "):
        raise ValueError(f"{page}: {line}: run it here, or add its program to NOT_RUN with a reason")
    given = arguments(page, line)
    if given[0] == "encode" and "--out" in given[-2:] and Path(given[-1]).is_dir():  # of the page, too
        shutil.rmtree(given[-1])
    if not any(part in line for part in PARSED):
        run(shortened(given))
    elif given[0] == "evaluate":
        from lit_gen.cli.commands.evaluate import parser

        parser().parse_args(given[1:])
    else:
        run([*given, "--print_config"])


def run(given: list[str]) -> None:
    """lit-gen with these arguments, which may ask for help."""
    from lit_gen.cli.app import main

    try:
        main(given)
    except SystemExit as stop:
        if stop.code:
            raise


def execute_code(page: str) -> dict:
    """Run the page's Python blocks one after the other, as a notebook, and return their names."""
    import lit_gen

    names: dict = {"__name__": page, "lit_gen": lit_gen}
    for block in blocks(page, "python", "py"):
        code = re.sub(r"runs/\S+?\.ckpt", f"{RUNS.get(page, 'vae')}.ckpt", block)
        compiled = compile(code.replace("max_epochs=5", "max_steps=3"), page, "exec", dont_inherit=True)
        if page not in COMPILED:
            exec(compiled, names)
    return names


if __name__ == "__main__":
    prepare(Path(sys.argv[1]))
    for name in sys.argv[2:]:
        for command in lines(name):
            print(f"$ {command}", flush=True)
            execute(name, command)
        execute_code(name)
