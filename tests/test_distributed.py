"""Any number of processes does the mathematics of one."""

import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import lightning.pytorch as L
import pytest
import torch
from lightning.pytorch.strategies import ModelParallelStrategy
from process_group import in_group
from training_script import BUILD, run_all

from datamodules import DigitsDataModule
from lit_gen.cli.app import main

MODULES = ["GAN", "WGAN", "WGANGP", "PacGAN", "ACGAN", "VAE", "IWAE", "HierarchicalVAE", "CycleGAN", "BatchNorm"]
# Rounding errors must not become steps: L1's gradient is a sign, and a bias in front of batch norm has no gradient but
# the errors, which Adam blows up.
DOUBLE = {"CycleGAN", "BatchNorm"}
STEPS = 20
GROUPS = {1: 1, 2: 1, 4: 2}  # processes: nodes


def jobs(processes, modules=MODULES, **trainer):
    return [
        {"name": f"{module}-{processes}", "module": module, "batch_size": 32, "max_steps": STEPS}
        | {"trainer": {"precision": "64-true" if module in DOUBLE else "32-true", "sync_batchnorm": True, **trainer}}
        for module in modules
    ]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("distributed")
    for processes, nodes in GROUPS.items():
        in_group(processes, run_all, folder, processes // nodes, jobs(processes, num_nodes=nodes), nodes=nodes)
    return folder


@pytest.mark.parametrize("processes", [2, 4])
@pytest.mark.parametrize("module", MODULES)
def test_all_processes_hold_the_same_weights(trained, module, processes, assert_same):
    ranks = [torch.load(trained / f"{module}-{processes}.rank{rank}.pt") for rank in range(processes)]
    for other in ranks[1:]:
        assert_same(ranks[0], other)


@pytest.mark.parametrize("processes", [2, 4])
@pytest.mark.parametrize("module", MODULES)
def test_several_processes_equal_one_on_the_joined_batch(trained, module, processes, assert_same):
    one, several = (torch.load(trained / f"{module}-{n}.rank0.pt") for n in (1, processes))
    assert several["counters"]["step"] == STEPS
    assert several["counters"]["images_seen"] == STEPS * 32
    assert one["counters"] == several["counters"]
    assert_same(one["weights"], several["weights"], tolerance=1e-5)


@pytest.mark.parametrize("module", MODULES)
def test_training_moved_every_player(trained, module):
    weights = torch.load(trained / f"{module}-2.rank0.pt")["weights"]
    averages = {key: value for key, value in weights.items() if key.startswith("averages.")}
    assert averages
    # The average lags behind what it follows: had nothing moved, they would be equal.
    for key, average in averages.items():
        if average.is_floating_point() and ".running_" not in key:
            own = weights[key.removeprefix("averages.").replace(".network.", ".", 1)]
            assert not torch.equal(average, own), key


def test_processes_that_the_trainer_starts_itself(trained, train, assert_same):
    train(trained, 2, [{**job, "name": "plain"} for job in jobs(2, ["ACGAN"])])
    for rank in (0, 1):
        plain, grouped = (torch.load(trained / f"{name}.rank{rank}.pt") for name in ("plain", "ACGAN-2"))
        assert_same(plain, grouped)


def refusal():
    strategy = ModelParallelStrategy(data_parallel_size=2, tensor_parallel_size=1)
    trainer = L.Trainer(accelerator="cpu", devices=2, strategy=strategy, logger=False, barebones=True)
    try:
        trainer.fit(BUILD["WGANGP"](), datamodule=DigitsDataModule(batch_size=32))
    except ValueError as error:
        return str(error)


def test_sharded_weights_are_refused_before_anything_runs():
    message = "strategy=ModelParallelStrategy: one device or 'ddp' is supported; sharded weights"
    assert all(error.startswith(message) for error in in_group(2, refusal))


def test_the_example_for_slurm_asks_for_what_it_starts(tmp_path):
    script = Path(__file__).parents[1] / "scripts" / "slurm.sh"
    srun = tmp_path / "srun"
    srun.write_text('#!/bin/bash\nprintf "%s\\n" "$@"\n')
    srun.chmod(0o755)
    given = dict(re.findall(r"#SBATCH --([\w-]+)=(\S+)", script.read_text()))
    slurm = {"SLURM_JOB_ID": "7", "SLURM_NNODES": given["nodes"], "SLURM_NTASKS_PER_NODE": given["ntasks-per-node"]}
    environment = {**os.environ, **slurm, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = subprocess.run(["bash", str(script), "--seed_everything=1"], env=environment, capture_output=True, text=True)
    _, name, *arguments = done.stdout.split()
    assert name == "lit-gen"
    assert given["gpus-per-node"] == given["ntasks-per-node"]
    assert arguments[-5:-1] == ["--trainer.num_nodes", given["nodes"], "--trainer.devices", given["ntasks-per-node"]]
    with pytest.raises(SystemExit) as stop:
        main([*arguments, "--print_config"])
    assert stop.value.code == 0


@pytest.mark.slow
def test_two_nodes_of_two_processes_by_torchrun(trained, tmp_path, assert_same):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "torch.distributed.run", "--nnodes=2", "--nproc-per-node=2"]
    command += ["--master-addr=127.0.0.1", f"--master-port={port}"]
    script = [os.path.join(os.path.dirname(__file__), "training_script.py"), str(tmp_path), "2"]
    script += [json.dumps(jobs(4, num_nodes=2))]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    nodes = [
        subprocess.Popen([*command, f"--node-rank={rank}", *script], env=environment, stderr=subprocess.PIPE, text=True)
        for rank in (0, 1)
    ]
    for node in nodes:
        _, errors = node.communicate(timeout=600)
        assert node.returncode == 0, errors[-3000:]
    for module in MODULES:
        for rank in range(4):
            real, forked = (torch.load(folder / f"{module}-4.rank{rank}.pt") for folder in (tmp_path, trained))
            assert_same(real, forked)
