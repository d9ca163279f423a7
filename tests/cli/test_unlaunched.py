"""What would wait for processes that nobody starts is refused before any work."""

import pytest
from jsonargparse import Namespace

from lit_gen.cli.trainer_options import refuse_unlaunched

RANKS = ("NODE_RANK", "GROUP_RANK", "LOCAL_RANK", "TORCHELASTIC_RUN_ID", "SLURM_NTASKS")


def trainer(strategy="ddp", num_nodes=1, plugins=None):
    return Namespace(strategy=strategy, num_nodes=num_nodes, plugins=plugins)


@pytest.mark.parametrize("strategy", ["ddp_spawn", "ddp_fork", "ddp_notebook"])
def test_other_ways_to_start_processes_are_refused(strategy):
    with pytest.raises(ValueError, match=rf"trainer\.strategy={strategy}: .*--trainer\.strategy ddp"):
        refuse_unlaunched(trainer(strategy))
    given = Namespace(class_path="DDPStrategy", init_args=Namespace(start_method=strategy.removeprefix("ddp_")))
    with pytest.raises(ValueError, match=r"trainer\.strategy="):
        refuse_unlaunched(trainer(given))


def test_several_nodes_need_a_launcher(monkeypatch):
    for name in RANKS:
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ValueError, match=r"trainer\.num_nodes=2: .*torchrun or SLURM"):
        refuse_unlaunched(trainer(num_nodes=2))
    refuse_unlaunched(trainer("auto"))
    refuse_unlaunched(trainer(num_nodes=2, plugins=["MyEnvironment"]))
    monkeypatch.setenv("NODE_RANK", "0")
    refuse_unlaunched(trainer(num_nodes=2))
