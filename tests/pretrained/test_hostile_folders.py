"""Damaged and hostile model folders: a model, or one clear error; nothing else, and in little time and memory."""

import json
import random
import shutil
import struct
from functools import partial
from pathlib import Path

import pytest

from lit_gen import GAN, VAE, from_pretrained, save_pretrained
from lit_gen.networks import MLPDecoder, MLPDiscriminator, MLPEncoder, MLPGenerator

JUNK = [
    None, True, -1, 0, 1, 7, 10**9, 10**30, -0.5, 1e308, float("nan"), "", "x", "1", "\x00", "../..", "os.system",
    "subprocess.Popen", "lit_gen.networks.MLPGenerator", "lit_gen.networks.Missing", "lit_gen.losses.Hinge",
    "torch.optim.Adam", "ü" * 99, [], [[]], [1], [8, 8], [10**6] * 3, {}, {"a": 1}, {"class_path": None},
    {"class_path": "os.system", "init_args": {}}, {"class_path": "lit_gen.losses.R1", "init_args": 3},
    {"class_path": "lit_gen.losses.R1", "init_args": {"weight": "x"}}, {"class_path": ["lit_gen.losses.R1"]},
    {"class_path": {"class_path": "lit_gen.losses.R1"}},
]  # fmt: skip


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    networks = {"generator": partial(MLPGenerator, width=4), "discriminator": partial(MLPDiscriminator, width=4)}
    save_pretrained(GAN((1, 8, 8), 2, **networks), folder / "gan")
    save_pretrained(VAE((1, 8, 8), 2, partial(MLPEncoder, width=4), partial(MLPDecoder, width=4)), folder / "vae")
    return [folder / "gan", folder / "vae"]


def places(value, prefix=()):
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield (*prefix, key)
        yield from places(item, (*prefix, key))


def spoil_config(folder, draw):
    """Up to two places of the description changed, taken away or added; or the text of it damaged."""
    path = folder / "config.json"
    text = path.read_text()
    if draw.random() < 0.2:
        at = draw.randrange(len(text))
        path.write_text(draw.choice([text[:at], text[:at] + draw.choice('{}[],:"x\x00') + text[at:], "", "[" * 5000]))
        return
    config = json.loads(text)
    for _ in range(draw.choice([1, 2])):
        *parents, last = draw.choice(list(places(config)))
        place = config
        for key in parents:
            place = place[key]
        change = draw.choice(["value", "value", "value", "away", "added"])
        if change == "value":
            place[last] = draw.choice(JUNK)
        elif change == "away":
            del place[last]
        elif isinstance(place, dict):
            place[draw.choice(["x", "init_from", "class_path", "init_args", "width", "cache"])] = draw.choice(JUNK)
    path.write_text(json.dumps(config))


def spoil_weights(folder, draw):
    """Bytes of the tensors' file changed or cut off, its header replaced, or the file of another model."""
    path = folder / "model.safetensors"
    content = bytearray(path.read_bytes())
    change = draw.choice(["bytes", "cut", "length", "header", "header", "gone", "folder"])
    if change == "bytes":
        for _ in range(draw.randrange(1, 9)):
            content[draw.randrange(len(content))] = draw.randrange(256)
    elif change == "cut":
        del content[draw.randrange(len(content)) :]
    elif change == "length":
        content[:8] = struct.pack("<Q", draw.choice([0, 1, len(content), 2**40, 2**64 - 1]))
    elif change == "header":
        size = struct.unpack("<Q", content[:8])[0]
        header = json.loads(content[8 : 8 + size])
        name = draw.choice([name for name in header if name != "__metadata__"])
        key, values = draw.choice([
            ("dtype", ["I8", "F16", "F64", "BOOL", "X"]), ("shape", [[], [0], [-1], [10**12], [2**62, 4]]),
            ("data_offsets", [[0, 0], [5, 1], [0, 2**60]]),
        ])  # fmt: skip
        header[name][key] = draw.choice(values)
        text = json.dumps(header).encode()
        content = bytearray(struct.pack("<Q", len(text)) + text + content[8 + size :])
    path.unlink()
    if change == "folder":
        path.mkdir()
    elif change != "gone":
        path.write_bytes(content)


def survived(whole, folder, seed):
    """What became of the seed's folder: None for a model, or why it is no answer."""
    draw = random.Random(seed)
    shutil.copytree(draw.choice(whole), folder)
    spoil = draw.choice([spoil_config, spoil_config, spoil_weights])
    spoil(folder, draw)
    try:
        from_pretrained(folder)
    except (ValueError, OSError) as error:
        return None if str(error).strip() else f"seed {seed}: {type(error).__name__} without words"
    except Exception as error:
        return f"seed {seed}: {spoil.__name__}: {type(error).__name__}: {error}"
    return None


def failures(whole, folder, seeds):
    return [told for seed in seeds if (told := survived(whole, folder / str(seed), seed))]


def test_some_folders(models, tmp_path):
    assert failures(models, tmp_path, range(40)) == []


@pytest.mark.slow
def test_three_hundred_folders(models, tmp_path):
    assert failures(models, tmp_path, range(300)) == []
    assert not Path("x").exists()
