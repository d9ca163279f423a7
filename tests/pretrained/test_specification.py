import json
from functools import partial

import pytest

from lit_gen.losses import GradientPenalty, LeastSquares
from lit_gen.modules import ClassifierFeatures
from lit_gen.networks import MLPGenerator, auto_generator
from lit_gen.optimizers import GANAdam
from lit_gen.pretrained.specification import build, describe


def test_descriptions():
    assert describe((1, 8.0, None, "a")) == [1, 8.0, None, "a"]
    assert describe(GANAdam) == {"class_path": "lit_gen.optimizers.GANAdam"}
    assert describe(auto_generator) == "lit_gen.networks.auto.auto_generator"
    assert describe(partial(MLPGenerator, width=7))["init_args"] == {"width": 7}
    penalty = describe(GradientPenalty(weight=3.0, one_sided=True))
    assert penalty["class_path"] == "lit_gen.losses.penalties.GradientPenalty"
    assert penalty["init_args"]["weight"] == 3.0
    assert penalty["init_args"]["one_sided"] is True
    assert describe({"loss": LeastSquares()})["loss"]["class_path"].endswith("LeastSquares")


def test_a_files_name_is_no_import_path():
    """Though it has dots, as the description of a function has."""
    loss = ClassifierFeatures(extractor="own/extractor.safetensors")
    description = json.loads(json.dumps(describe(loss)))
    assert build(description["class_path"], description["init_args"]) == loss


@pytest.mark.parametrize("value", [lambda shape: None, object(), partial(MLPGenerator, 3)])
def test_what_cannot_be_rebuilt_is_refused_by_name(value):
    with pytest.raises(ValueError, match="discriminator="):
        describe(value, "discriminator")
