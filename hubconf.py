"""``torch.hub.load("owner/lit-gen", "pretrained", "gan_digits")``: see ``lit_gen.from_pretrained``."""

dependencies = ["torch", "numpy", "safetensors"]

from lit_gen.pretrained import from_pretrained as pretrained  # noqa: E402, F401
