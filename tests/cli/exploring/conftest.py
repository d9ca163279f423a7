"""A model of each kind that has latents."""

import pytest
import torch
from explore_models import MODELS


@pytest.fixture(params=MODELS)
def model(request):
    torch.manual_seed(0)
    return MODELS[request.param]()
