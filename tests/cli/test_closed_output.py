"""A command whose output nobody reads any more ends quietly, with the status of programs that SIGPIPE ends."""

import os
import subprocess
import sys

import pytest
from PIL import Image

from lit_gen.cli.closed_output import ended_by_closed_output


@pytest.mark.parametrize("both", [False, True])
@pytest.mark.parametrize("command", [[], ["list"], ["check", "photos"]])
def test_a_pipe_that_is_closed_ends_a_command_quietly(tmp_path, command, both):
    (tmp_path / "photos").mkdir()
    Image.new("L", (8, 8)).save(tmp_path / "photos" / "0.png")
    reading, writing = os.pipe()
    os.close(reading)
    errors = writing if both else subprocess.PIPE
    run = [sys.executable, "-m", "lit_gen", *command]
    done = subprocess.run(run, stdout=writing, stderr=errors, cwd=tmp_path, timeout=120, text=True)
    os.close(writing)
    assert done.returncode == 141
    assert not done.stderr


def test_another_pipe_that_is_closed_is_no_end_of_the_output(capfd):
    with pytest.raises(BrokenPipeError, match="a worker"), ended_by_closed_output():
        raise BrokenPipeError("a worker")
