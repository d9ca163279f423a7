"""What a GPU does for this library, in one call: tests, training steps, samples, scores and a profile.

    scripts/gpu.sh wheels FOLDER
    scripts/gpu.sh --wheels FOLDER --out RESULTS
    scripts/gpu.sh --device cpu --small --out RESULTS

Writes RESULTS/gpu.json and, of it, RESULTS/gpu.md. Each stage is a process with a time limit of its own within the
budget of the whole. One that fails or runs out of time is recorded, and the next begins; what is left out is named with
the reason. The exit status is 1 if a stage has failed or run out of time.

Needs Python alone (3.11 or later) until the stages begin, so that it runs before anything is installed.
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from packages import ROOT, environment, missing
from runner import MOST, STAGES, Runner, run_stages, surroundings


def commit() -> str | None:
    """The checkout's; a copy of the files alone has none."""
    if shutil.which("git") is None:
        return None
    done = subprocess.run(["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"], capture_output=True, text=True)
    return done.stdout.strip() or None if done.returncode == 0 else None


def machine(python: str, device: str) -> dict[str, Any]:
    """Name and versions of what the stages run on.

    Raises:
        ValueError: there is no such device, or the library can't be imported.
    """
    command = [python, str(Path(__file__).with_name("machine.py")), device]
    done = subprocess.run(command, capture_output=True, text=True, env=surroundings())
    if done.returncode:
        raise ValueError((done.stderr.strip() or "no word").splitlines()[-1])
    return json.loads(done.stdout)


def parse() -> tuple[argparse.ArgumentParser, argparse.Namespace]:
    parser = argparse.ArgumentParser(
        prog="scripts/gpu.sh", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=os.environ.get("OUT") or None, help="folder of the results ($OUT)")
    parser.add_argument("--wheels", type=Path, help="folder with wheels of the packages that are missing")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--small", action="store_true", help="everything in miniature: does it run at all")
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=list(STAGES), help="by default all")
    parser.add_argument("--budget", type=int, default=MOST, help=f"seconds of the whole, at most {MOST} (%(default)s)")
    parser.add_argument("--images", type=int, help="of each side in scores (50000; with --small 500)")
    given = parser.parse_args()
    if given.out is None:
        parser.error("--out: a folder for the results is needed, or the variable OUT")
    if given.out.exists() and not given.out.is_dir():
        parser.error(f"--out {given.out}: is a file; a folder is needed")
    if not 1 <= given.budget <= MOST:
        parser.error(f"--budget {given.budget}: 1 to {MOST} seconds")
    if given.images is not None and given.images < 100:
        parser.error(f"--images {given.images}: at least 100")
    if given.wheels is not None and not given.wheels.is_dir():
        parser.error(f"--wheels {given.wheels}: there is no such folder")
    try:
        given.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        parser.error(f"--out {given.out}: can't be made: {error.strerror}")
    return parser, given


def main() -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the stage that runs ends too
    begun = time.monotonic()
    parser, given = parse()
    with tempfile.TemporaryDirectory() as folder:
        try:
            if given.wheels is None and (lacking := missing()):
                parser.error(
                    f"not installed: {', '.join(lacking)}; download them by `scripts/gpu.sh wheels FOLDER` where there "
                    "is a network, and give --wheels FOLDER"
                )
            python = str(environment(Path(folder), given.wheels)) if given.wheels else sys.executable
            on = machine(python, given.device)
        except ValueError as error:
            parser.error(str(error))
        images = given.images or (500 if given.small else 50_000)
        result = {
            "date": datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"), "commit": commit(), "machine": on,
            "device": given.device, "small": given.small, "images": images, "budget_s": given.budget,
            "prepared_s": time.monotonic() - begun, "took_s": 0.0, "stages": {},
        }  # fmt: skip
        runner = Runner(python, {"device": given.device, "small": given.small, "images": images})
        run_stages(runner, given.stages, begun + given.budget, result, given.out)
    print(f"{given.out / 'gpu.json'} and {given.out / 'gpu.md'}")
    sys.exit(any(stage["status"] in ("failed", "timed out") for stage in result["stages"].values()))


if __name__ == "__main__":
    main()
