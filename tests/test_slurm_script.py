"""The example for SLURM requeues a run that its time has stopped, and no other."""

import os
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "scripts" / "slurm.sh"
# The tasks: they tell how they were called, and end as they are told to; by SIGTERM like a run that saves.
SRUN = """#!/bin/bash
echo "$@" >> calls
trap 'exit "$AFTER_TERM"' TERM
echo $$ > tasks
[ "$TIME_IS_UP" = no ] || kill -USR1 "$PPID"
[ "$TIME_IS_UP" = no ] && exit "$STATUS"
for _ in {1..200}; do sleep 0.05; done
"""
SCANCEL = '#!/bin/bash\n[ "$*" = "--signal=TERM 7" ] && kill -TERM "$(cat tasks)"\n'
SCONTROL = '#!/bin/bash\necho "$@" >> requeued\n'


def run(folder, restarts=0, time_is_up=False, status=0, after_term=143):
    for name, text in {"srun": SRUN, "scancel": SCANCEL, "scontrol": SCONTROL}.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    slurm = {"SLURM_JOB_ID": "7", "SLURM_NNODES": "1", "SLURM_NTASKS_PER_NODE": "2(x1)"}
    slurm |= {"SLURM_RESTART_COUNT": str(restarts), "TIME_IS_UP": "yes" if time_is_up else "no"}
    slurm |= {"STATUS": str(status), "AFTER_TERM": str(after_term), "PATH": f"{folder}:{os.environ['PATH']}"}
    done = subprocess.run(["bash", str(SCRIPT), "--seed_everything=1"], env={**os.environ, **slurm}, cwd=folder)
    requeued = folder / "requeued"
    return done.returncode, requeued.read_text() if requeued.exists() else None, (folder / "calls").read_text()


def test_a_run_out_of_time_is_stopped_by_sigterm_and_requeued(tmp_path):
    status, requeued, call = run(tmp_path, time_is_up=True)
    assert (status, requeued) == (143, "requeue 7\n")
    assert "--ckpt_path" not in call


def test_a_requeued_run_goes_on_in_its_own_folder(tmp_path):
    _, _, call = run(tmp_path, restarts=1)
    assert "--experiment wgan_gp_cifar10/7" in call
    assert call.endswith("--seed_everything=1 --ckpt_path last\n")


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ({}, 0),
        ({"status": 2}, 2),
        ({"status": 143}, 143),  # cancelled by its user
        ({"time_is_up": True, "after_term": 0}, 0),  # finished in its last two minutes
        ({"time_is_up": True, "after_term": 1}, 1),
    ],
)
def test_what_has_finished_failed_or_been_cancelled_is_not_requeued(tmp_path, how, expected):
    assert run(tmp_path, **how)[:2] == (expected, None)
