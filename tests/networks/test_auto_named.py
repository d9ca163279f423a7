"""A network that is named is the one that a model takes by itself."""

import pytest

from lit_gen import networks
from lit_gen.networks import auto

SHAPES = {(1, 8, 8): "DCGAN", (2,): "MLP"}


@pytest.mark.parametrize(("shape", "family"), SHAPES.items())
@pytest.mark.parametrize("role", ["generator", "discriminator", "encoder", "decoder"])
@pytest.mark.parametrize("num_classes", [0, 3])
def test_to_name_a_default_changes_nothing(shape, family, role, num_classes):
    latent = () if role == "discriminator" else (4,)
    by_default = getattr(auto, f"auto_{role}")(shape, *latent, num_classes)
    named = getattr(networks, f"{family}{role.capitalize()}")(shape, *latent, num_classes)
    assert str(named) == str(by_default)
    if role != "generator":
        assert "Norm" not in str(named)
