"""Models for the Hub: a folder without a network, and the upload as far as the client's calls."""

import functools
import json
from pathlib import Path

import huggingface_hub
import pytest
import torch

from lit_gen import VAE, from_pretrained, push_to_hub
from lit_gen.cli.app import main
from lit_gen.networks import MLPDecoder, MLPEncoder


@pytest.fixture(autouse=True)
def without_a_network(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: None)


@pytest.fixture
def vae():
    networks = {"encoder": MLPEncoder, "decoder": MLPDecoder}
    return VAE((1, 8, 8), 4, **{name: functools.partial(kind, width=8) for name, kind in networks.items()}).eval()


def sample(model):
    return model.sample(4, generator=torch.Generator().manual_seed(0))


def test_a_folder_is_prepared_and_the_command_told(vae, capsys):
    folder = push_to_hub(vae, "someone/digits-vae", facts={"data": "digits", "licence": "mit"})
    assert folder == Path("digits-vae")
    assert capsys.readouterr().out.endswith("hf upload someone/digits-vae digits-vae .\n")
    card = (folder / "README.md").read_text()
    assert "license: mit" in card
    assert 'from_pretrained("someone/digits-vae")' in card
    torch.testing.assert_close(sample(from_pretrained(folder)), sample(vae), rtol=0, atol=0)


def test_the_command_keeps_what_is_known_of_a_model(capsys):
    main(["push", "vae_digits", "me/a", "--licence", "cc0-1.0"])
    told = json.loads(Path("a/config.json").read_text())["facts"]
    assert (told["config"], told["steps"], told["licence"]) == ("vae_digits", 4000, "cc0-1.0")
    assert "hf upload me/a a ." in capsys.readouterr().out


class Client:
    """Notes what it is asked for."""

    calls: list = []  # noqa: RUF012

    def __init__(self, token):
        self.calls.append(token)

    def create_repo(self, name, **how):
        self.calls.append((name, how))

    def upload_folder(self, repo_id, folder_path, commit_message):
        self.calls.append((repo_id, sorted(path.name for path in Path(folder_path).iterdir())))


def test_an_upload_makes_the_repository_and_sends_the_folder(vae, monkeypatch, capsys):
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: "secret")
    monkeypatch.setattr(huggingface_hub, "HfApi", Client)
    push_to_hub(vae, "me/b", upload=True, private=True)
    files = ["README.md", "config.json", "model.safetensors"]
    assert Client.calls == ["secret", ("me/b", {"private": True, "exist_ok": True}), ("me/b", files)]
    assert "secret" not in capsys.readouterr().out


def test_an_upload_that_fails_is_one_line_and_leaves_the_folder(monkeypatch, capsys):
    def fail(self, *_, **__):
        raise RuntimeError("403 Forbidden\nmore")

    monkeypatch.setattr(huggingface_hub, "get_token", lambda: "secret")
    monkeypatch.setattr(huggingface_hub, "HfApi", type("Failing", (Client,), {"create_repo": fail}))
    with pytest.raises(SystemExit, match="2"):
        main(["push", "vae_digits", "me/c", "--upload"])
    assert capsys.readouterr().err == "lit-gen: error: me/c: not uploaded (403 Forbidden); c is whole\n"
    assert from_pretrained("c").latent_dim == 16


@pytest.mark.parametrize(("arguments", "message"), [
    (["vae_digits", "noname"], "repository=noname: owner/name"), (["vae_digit", "me/a"], "did you mean vae_digits"),
    (["vae_digits", "me/a", "--upload"], "not logged in to the Hugging Face Hub"),
    (["x"], "push: repository is required"),
])  # fmt: skip
def test_mistakes_are_one_line_and_leave_nothing(arguments, message, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["push", *arguments])
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1
    assert not list(Path().iterdir())
