"""Runs the stages of `scripts/gpu.sh` within a budget, and writes what they say; needs Python alone."""

import json
import os
import signal
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from packages import ROOT
from report import report

MOST = 540  # seconds of the whole
RESERVE = 5  # of them for writing and for ending processes


@dataclass
class Stage:
    """The most seconds that it gets, and the least with which it is begun."""

    limit: int
    least: int


STAGES = {
    "tests": Stage(150, 20),
    "steps": Stage(200, 30),
    "sampling": Stage(40, 15),
    "scores": Stage(90, 20),
    "profile": Stage(40, 15),
}


@dataclass
class Runner:
    """Runs stages by an interpreter, with the same settings."""

    python: str
    settings: dict[str, Any]

    def run(self, name: str, limit: float) -> dict[str, Any]:
        """One stage: how it ended, why, the seconds it took, and its rows."""
        begun = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            file, log = Path(folder) / "rows.json", Path(folder) / "log"
            status = self._wait(name, limit, file, log)
            rows = json.loads(file.read_text()) if file.exists() else []
            said = log.read_text(errors="replace").strip().splitlines()
        ended = "timed out" if status is None else "failed"
        for row in rows:
            if row["status"] == "running":
                row |= {"status": ended, "why": "its process ended within it"}
        failed = [row for row in rows if row["status"] == "failed"]
        stage: dict[str, Any] = {"status": "done", "why": None, "took_s": time.monotonic() - begun, "rows": rows}
        if status is None:
            stage |= {"status": ended, "why": f"stopped after {limit:.0f} s"}
        elif status or failed:
            why = (
                f"{len(failed)} of {len(rows)} rows; first: {failed[0]['why']}" if failed else (said or ["no word"])[-1]
            )
            stage |= {"status": ended, "why": why}
        return stage if stage["status"] == "done" else stage | {"log": said[-40:]}

    def _wait(self, name: str, limit: float, file: Path, log: Path) -> int | None:
        """The status of a stage's process; None if it was stopped at its limit, with all that it had started."""
        settings = json.dumps(self.settings | {"until": time.time() + limit - RESERVE})
        command = [self.python, str(Path(__file__).with_name("stages.py")), name, str(file), settings]
        with log.open("w") as out:
            process = subprocess.Popen(
                command, stdout=out, stderr=subprocess.STDOUT, env=surroundings(), start_new_session=True, cwd=ROOT
            )
            try:
                return process.wait(limit)
            except subprocess.TimeoutExpired:
                return None
            finally:
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait()


def run_stages(runner: Any, names: list[str], end: float, result: dict[str, Any], out: Path) -> None:
    """Run the stages of these names until the clock shows ``end``; the files are written anew after each."""
    begun = time.monotonic()
    for name, stage in STAGES.items():
        left = end - time.monotonic() - RESERVE
        skipped = {"status": "skipped", "took_s": 0.0, "rows": []}
        if name not in names:
            done = skipped | {"why": "not asked for"}
        elif left < stage.least:
            done = skipped | {"why": f"{max(0, left):.0f} s are left of {result['budget_s']}, it needs {stage.least}"}
        else:
            done = runner.run(name, min(stage.limit, left))
        result["stages"][name] = done
        result["took_s"] = time.monotonic() - begun + result["prepared_s"]
        write(result, out)
        print(
            f"{name}: {done['status']}, {done['took_s']:.0f} s{': ' + done['why'] if done['why'] else ''}", flush=True
        )


def write(result: dict[str, Any], out: Path) -> None:
    """The two files, each whole at any time."""
    for name, text in (("gpu.json", json.dumps(result, indent=1) + "\n"), ("gpu.md", report(result))):
        part = out / f".{name}.part"
        part.write_text(text)
        part.replace(out / name)


def surroundings() -> dict[str, str]:
    """The variables of processes that import the library of this checkout."""
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
    return {**os.environ, "PYTHONPATH": path}
