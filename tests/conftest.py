import importlib.util
import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import torch

import lit_gen

SCRIPT = Path(__file__).parent / "training_script.py"
SCRIPTS = Path(__file__).parent.parent / "scripts"


@pytest.fixture(autouse=True)
def one_thread():
    """Small tensors: a second thread only waits, and several tests run side by side."""
    torch.set_num_threads(1)


@pytest.fixture(autouse=True, scope="session")
def processes_import_what_is_tested():
    """Scripts that tests start have their own folder first on their path, and would find another, installed library."""
    found = [str(Path(lit_gen.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join(filter(None, found)))
        yield


@pytest.fixture(autouse=True)
def own_cache(monkeypatch, tmp_path_factory, request):
    """On a slow machine features of real images are kept in the user's cache: what one test finds, another left."""
    name = f"cache-{abs(hash(request.node.nodeid))}"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / name))


@pytest.fixture(autouse=True)
def own_log_level():
    """Scripts that a test runs silence the framework; what it says belongs to other tests."""
    logger = logging.getLogger("lightning.pytorch")
    level = logger.level
    yield
    logger.setLevel(level)


@pytest.fixture(autouse=True)
def no_process_group_is_left():
    """One that a test leaves behind changes what later tests in its process do."""
    yield
    assert not torch.distributed.is_initialized()


@pytest.fixture(scope="session")
def train() -> Callable[..., None]:
    """Runs jobs of training_script.py in new processes."""

    def train(folder: Path, devices: int, jobs: list[dict]) -> None:
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
        command = [sys.executable, str(SCRIPT), str(folder), str(devices), json.dumps(jobs)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr[-3000:]

    return train


@pytest.fixture(scope="session")
def load_script() -> Callable[[str], ModuleType]:
    """Imports a file of scripts/, which is no package."""

    def load_script(path: str) -> ModuleType:
        specification = importlib.util.spec_from_file_location(Path(path).stem, SCRIPTS / path)
        module = importlib.util.module_from_spec(specification)
        specification.loader.exec_module(module)
        return module

    return load_script


def flatten(value: object, path: str = "") -> dict[str, object]:
    """The leaves of nested dictionaries and lists by path."""
    if isinstance(value, dict):
        items = value.items()
    elif isinstance(value, (list, tuple)):
        items = enumerate(value)
    else:
        return {path: value}
    return {k: v for key, item in items for k, v in flatten(item, f"{path}.{key}").items()}


@pytest.fixture(scope="session")
def assert_same() -> Callable[..., None]:
    """Compares two nested states, bit for bit unless a tolerance is given."""

    def assert_same(a: object, b: object, tolerance: float = 0.0) -> None:
        a, b = flatten(a), flatten(b)
        assert a.keys() == b.keys()
        for key in a:
            if isinstance(a[key], torch.Tensor):
                difference = (a[key].double() - b[key].double()).abs().max().item() if a[key].numel() else 0.0
                assert difference <= tolerance, f"{key}: {difference}"
            else:
                assert a[key] == b[key], key

    return assert_same
