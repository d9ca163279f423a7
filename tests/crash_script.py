"""Lives of one training, each killed at another moment of writing a checkpoint, by processes that import nothing.

    python crash_script.py FOLDER

Prints a JSON list with what each life has left: its name, the step of ``last.ckpt``, that of ``previous.ckpt`` and the
unfinished files.
"""

import json
import os
import signal
import sys
from pathlib import Path

import torch

from lit_gen import files
from lit_gen.cli.app import main
from lit_gen.pretrained.resume import PREVIOUS, last_checkpoint

OPTIONS = [
    "--model=GAN", "--model.latent_dim=2", "--model.generator=MLPGenerator", "--model.generator.width=4",
    "--model.discriminator=MLPDiscriminator", "--model.discriminator.width=4", "--model.n_critic=2",
    "--data=DigitsDataModule", "--data.batch_size=128", "--trainer.limit_val_batches=0", "--trainer.accelerator=cpu",
    "--trainer.enable_progress_bar=false", "--checkpoint.every_n_steps=2", "--trainer.max_steps=24",
    "--new_folder=true",
]  # fmt: skip
SAVES = 3  # a life dies in the writing of its third checkpoint, having taken six steps
BEFORE = 3  # files written in the same way at the start: run.json, data.json and a picture


def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)


def after(number, function, then=die):
    """The function, whose call of this number is its last."""
    calls = iter(range(1, 1000))

    def counted(*arguments, **options):
        result = function(*arguments, **options)
        if next(calls) == number:
            then()
        return result

    return counted


def half_written(content, file):
    file.write(b"PK\x03\x04 half")
    file.flush()
    die()


def in_the_middle():
    save = torch.save
    calls = iter(range(1, 1000))
    torch.save = lambda content, file: (half_written if next(calls) == SAVES else save)(content, file)


def written_but_not_renamed():
    files.os.fsync = after(2 * (SAVES + BEFORE) - 1, os.fsync)  # each checkpoint flushes its file and its folder


def linked():
    files.os.link = after(SAVES - 1, os.link)  # the first has none before it


def kept():
    files.os.replace = after(2 * SAVES - 2 + BEFORE, os.replace)


def renamed():
    files.os.replace = after(2 * SAVES - 1 + BEFORE, os.replace)


def life(folder, name, prepare=None):
    """One process of the same command; what it leaves."""
    pid = os.fork()
    if pid == 0:
        with open(folder / f"{name}.log", "a") as log:
            os.dup2(log.fileno(), 1)
            os.dup2(log.fileno(), 2)
        if prepare is not None:
            prepare()
        try:
            main(["fit", *OPTIONS, "--trainer.default_root_dir", str(folder), "--experiment", name,
                  "--ckpt_path", "last"])  # fmt: skip
            os._exit(0)
        finally:
            os._exit(1)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    last = last_checkpoint(folder / name)
    steps = [torch.load(p, weights_only=True)["global_step"] if p.exists() else None
             for p in (last, last.with_name(PREVIOUS))]  # fmt: skip
    unfinished = [path.name for path in (folder / name).glob("*/checkpoints/.*")]
    return {"life": prepare.__name__ if prepare else name, "status": status, "steps": steps, "left": len(unfinished)}


if __name__ == "__main__":
    torch.set_num_threads(1)
    root = Path(sys.argv[1])
    moments = (in_the_middle, written_but_not_renamed, linked, kept, renamed)
    lives = [life(root, "killed", moment) for moment in moments]
    print(json.dumps([*lives, life(root, "killed"), life(root, "straight")]))
