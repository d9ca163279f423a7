#!/usr/bin/env bash
# lightning 2.6.6: self.log(..., sync_dist=True, batch_size=n) in validation_step gives a wrong mean where processes hold
# different numbers of samples.
#
# Seen: 10 samples of value 1.0 on 4 processes (3, 3, 2, 2 samples, one batch each): the logged mean is 1.25, on 3
# processes 1.111, on 1 and 2 exactly 1. No warning.
# Most would guess: a mean of ones is one; batch_size weighs each batch, and sync_dist adds sums and counts up.
# What happens: the sum of value * batch_size and the count are both *averaged* over processes, and the count, an integer,
# is cut: 2.5 / 2 = 1.25.
# Why it matters: every bound, loss or accuracy of a split that the processes don't divide is off, and with it what
# checkpoints are chosen by; the error depends on the number of processes.
# Remedy: add up sums and counts yourself, or log a torchmetrics.MeanMetric.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet lightning==2.6.6 torch==2.14.1 numpy==2.4.6
cat > "$folder/run.py" <<'PYTHON'
import json
import logging
import os
import sys
import warnings

import lightning.pytorch as L
import torch
from torch.utils.data import DataLoader, Dataset

warnings.simplefilter("ignore")
logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
out, processes = sys.argv[1], int(sys.argv[2])


class Share(Dataset):
    """Ten samples of value one, dealt out to the processes one by one, none of them twice."""

    def __init__(self, rank):
        self.size = len(range(rank, 10, processes))

    def __len__(self):
        return self.size

    def __getitem__(self, index):
        return torch.ones(())


class Module(L.LightningModule):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)

    def val_dataloader(self):
        return DataLoader(Share(self.trainer.global_rank), batch_size=10)

    def validation_step(self, batch, index):
        self.log("mean", batch.mean(), sync_dist=True, batch_size=len(batch))


trainer = L.Trainer(
    accelerator="cpu", devices=processes, strategy="ddp" if processes > 1 else "auto", logger=False,
    enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False, use_distributed_sampler=False,
)
(values,) = trainer.validate(Module(), verbose=False)
if trainer.global_rank == 0:
    with open(out, "w") as file:
        json.dump(values["mean"], file)
PYTHON
for processes in 1 2 3 4; do
  OMP_NUM_THREADS=1 "$folder/env/bin/python" "$folder/run.py" "$folder/$processes.json" "$processes"
  echo "lightning 2.6.6, 10 ones on $processes processes: mean $(cat "$folder/$processes.json")"
done
"$folder/env/bin/python" - "$folder" <<'PYTHON'
import json
import sys

means = [json.load(open(f"{sys.argv[1]}/{n}.json")) for n in (1, 2, 3, 4)]
expected = [1.0, 1.0, 10 / 9, 1.25]
assert all(abs(a - b) < 1e-5 for a, b in zip(means, expected)), f"it has changed: {means}"
PYTHON
