#!/usr/bin/env bash
# torchmetrics 1.9.0: MemorizationInformedFrechetInceptionDistance looks from the real images to the generated ones, not back.
#
# Seen: 100 generated rows that are copies of 5 of 100 real rows get no penalty: the score is the plain Fréchet distance. With
# real and generated exchanged, which leaves the Fréchet distance as it is, the score is more than a million times as large.
# Most would guess: a model that draws training images again and again is what the score punishes, as Bai et al. (2021,
# arXiv:2106.03062) define it: the mean over generated images of the distance to the nearest real one, here 0.
# Why it matters: the score is used to refuse memorisers, and the strongest case, few images drawn often, passes.
# Remedy: give the generated images as real=True and the training images as real=False.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet torchmetrics==1.9.0 torch==2.14.1 torchvision==0.29.1 numpy==2.4.6 scipy==1.17.1
"$folder/env/bin/python" - <<'PYTHON'
import torch
import torchmetrics
from torchmetrics.image.mifid import MemorizationInformedFrechetInceptionDistance as MiFID


class Rows(torch.nn.Module):
    num_features = 8

    def forward(self, images):
        return images.flatten(1)


torch.manual_seed(0)
real = torch.randn(100, 1, 1, 8, dtype=torch.float64)
copies = real[:5].repeat(20, 1, 1, 1)
scores = []
for first, second in ((real, copies), (copies, real)):
    metric = MiFID(Rows()).set_dtype(torch.float64)
    metric.update(first, real=True)
    metric.update(second, real=False)
    scores.append(float(metric.compute()))
nearest = 1 - torch.nn.functional.cosine_similarity(copies.flatten(1)[:, None], real.flatten(1)[None], dim=2).abs()
of_generated = nearest.amin(1).mean()
print(f"torchmetrics {torchmetrics.__version__}: distance of the copies to the nearest real row {float(of_generated):.1e}, "
      f"MiFID {scores[0]:.4g}, exchanged {scores[1]:.4g}")
assert of_generated < 1e-10
assert scores[1] > 1e6 * scores[0], "it has changed"
PYTHON
