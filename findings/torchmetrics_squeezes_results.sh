#!/usr/bin/env bash
# torchmetrics 1.9.0: compute() drops the dimensions of every tensor with one entry, also within dictionaries and tuples.
#
# Seen: a metric that returns the rows it has collected gives shape (2, 1) for two rows of one feature and () for one.
# Most would guess: compute() returns what the class's compute returns; a scalar result may be squeezed, not data.
# Why it matters: rows, labels or indices kept in a metric lose their axes for one sample only, so code that works on
# every real split stops ("iteration over a 0-d tensor"), or takes a label for a feature, on a split of one.
# Remedy: reshape what compute() returned, or call type(metric).compute(metric).
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet torchmetrics==1.9.0 torch==2.14.1 numpy==2.4.6
"$folder/env/bin/python" - <<'PYTHON'
import torch
import torchmetrics


class Rows(torchmetrics.Metric):
    def __init__(self):
        super().__init__()
        self.add_state("rows", [], dist_reduce_fx="cat")

    def update(self, x):
        self.rows.append(x)

    def compute(self):
        return {"rows": torch.cat(self.rows)}


shapes = []
metric = Rows()
for _ in range(2):
    metric.update(torch.ones(1, 1))
    shapes.append(tuple(metric.compute()["rows"].shape))
print(f"torchmetrics {torchmetrics.__version__}: one row {shapes[0]}, two rows {shapes[1]}")
assert shapes == [(), (2, 1)], "it has changed"
PYTHON
