"""The page of every kind of model can be laid out; what it does in a browser is tests/test_explore_page.py's matter."""

import pytest
import torch
from explore_models import MODELS, autoencoder, cut, cyclegan, pix2pix

from lit_gen.cli.exploring.explorer import Explorer

gradio = pytest.importorskip("gradio", reason="needs gradio: pip install 'lit-gen[explore]'")
KINDS = {**MODELS, "autoencoder": autoencoder, "CycleGAN": cyclegan, "Pix2Pix": pix2pix, "CUT": cut}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_model_has_its_tabs(kind, tmp_path):
    from lit_gen.cli.exploring.page import build

    torch.manual_seed(0)
    explorer = Explorer(KINDS[kind](), "<b>name</b>")
    page = build(explorer, tmp_path)
    tabs = [block.label for block in page.blocks.values() if isinstance(block, gradio.Tab)]
    expected = ["Samples", "Sliders", "Paths"] if explorer.draws else []
    assert tabs == [*expected, *(["Your picture"] if explorer.draws else [])]
    uploads = [block for block in page.blocks.values() if isinstance(block, gradio.File)]
    assert len(uploads) == 1
    assert all(function.api_visibility == "private" for function in page.fns.values())
    title = next(block for block in page.blocks.values() if block.elem_id == "title")
    assert "&lt;b&gt;name" in title.value
    assert "<b>" not in title.value
