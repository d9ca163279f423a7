"""The page's server answers its own machine alone, and its page may ask nobody else."""

import asyncio
import os
import sys

import pytest

from lit_gen.cli.app import main
from lit_gen.cli.exploring.serving import LOCAL, Guard, require_gradio


async def page(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/html")]})
    await send({"type": "http.response.body", "body": b"page"})


def answer(hosts=(LOCAL, "localhost"), kind="http", **headers):
    """Status, headers and body of a request with these headers."""
    sent = []

    async def send(message):
        sent.append(message)

    named = [(name.encode(), value.encode()) for name, value in headers.items()]
    asyncio.run(Guard(page, hosts)({"type": kind, "headers": named}, None, send))
    found = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return sent[0]["status"], found, sent[1]["body"]


@pytest.mark.parametrize("host", ["127.0.0.1:7860", "localhost:7860"])
def test_its_own_page_is_answered(host):
    status, headers, body = answer(host=host)
    assert (status, body, headers["content-type"]) == (200, b"page", "text/html")
    assert answer(host=host, origin=f"http://{host}")[0] == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"host": "evil.example:7860"},  # a name that its owner has given to 127.0.0.1
        {"host": "evil.example"},
        {"host": "127.0.0.1.evil.example:7860"},
        {},
        {"host": "127.0.0.1:7860", "origin": "http://evil.example"},
        {"host": "127.0.0.1:7860", "origin": "http://127.0.0.1:8888"},  # another server of this machine
        {"host": "127.0.0.1:7860", "origin": "null"},
    ],
)
def test_other_pages_are_not(headers):
    status, _, body = answer(**headers)
    assert status == 403
    assert b"page" not in body.replace(b"this page is for", b"")


def test_a_space_is_answered_by_any_name():
    assert answer(hosts=(), host="me-digits.hf.space", origin="https://huggingface.co")[0] == 200


@pytest.mark.parametrize("hosts", [(LOCAL,), ()])
def test_the_browser_may_ask_this_server_alone(hosts):
    policy = answer(hosts, host="127.0.0.1:7860")[1]["content-security-policy"]
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'self'"
    words = {word for rule in rules.values() for word in rule.split()}
    assert words == {"'self'", "'unsafe-inline'", "'unsafe-eval'", "data:", "blob:", "'none'"}


def test_without_gradio_there_is_one_line(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "gradio", None)
    monkeypatch.setattr(os, "environ", dict(os.environ))
    with pytest.raises(SystemExit, match="2"):
        main(["explore", "vae_digits"])
    told = capsys.readouterr().err
    assert told.splitlines() == ["lit-gen: error: needs the package gradio: pip install 'lit-gen[explore]'"]


def test_gradio_is_told_to_call_nobody(monkeypatch):
    monkeypatch.setitem(sys.modules, "gradio", type(sys)("gradio"))
    monkeypatch.setattr(os, "environ", {"GRADIO_ANALYTICS_ENABLED": "True"})
    require_gradio()
    assert os.environ["GRADIO_ANALYTICS_ENABLED"] == "False"
    assert os.environ["HF_HUB_DISABLE_TELEMETRY"] == "1"


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["nothing"], "nothing"),
        (["vae_digits", "--port", "70000"], "--port 70000: from 1 to 65535"),
        (["vae_digits", "--space", "x", "--port", "80"], "--space x: writes a folder"),
        (["vae_digits", "--share"], "unknown option --share"),
    ],
)
def test_mistakes_are_one_line(options, told, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "gradio", type(sys)("gradio"))
    with pytest.raises(SystemExit, match="2"):
        main(["explore", *options])
    (line,) = capsys.readouterr().err.splitlines()
    assert told in line
