"""Training steps beside another checkout's, of an earlier commit for one: `scripts/benchmark steps --beside` calls it.

Each checkout's own benchmark makes its step, in a process of its own that imports nothing of the other. They take
turns, and who begins changes from one to the next. Each round has processes of its own, since some are slower than
others all their life. CPU seconds of these processes; of a GPU wall time.
"""

import json
import statistics
import subprocess
import sys
import tempfile
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import IO, Any, cast

HERE = Path(__file__).parents[2]
MODULES = "steps", "benchmark_steps"  # what has held the rows: in scripts/benchmark, in scripts before
TURNS = 2  # of each side's stretches in a round, after one that makes and reads files
LONGER = 4  # times the steps of a stretch beside a peer: here a hundredth counts


class Stretches:
    """A process that times a checkout's step as often as it is asked to."""

    def __init__(self, checkout: Path, row: str, folder: str, device: str, threads: int) -> None:
        self.command = [sys.executable, __file__, str(checkout), row, folder, device, str(threads), str(LONGER)]
        self.process = subprocess.Popen(self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def __enter__(self) -> "Stretches":
        return self

    def __exit__(self, *_: Any) -> None:
        with suppress(BrokenPipeError):
            self.process.communicate()  # the end of its input ends it

    def seconds(self) -> float:
        """A stretch's seconds a step."""
        asked, answers = cast(IO[str], self.process.stdin), cast(IO[str], self.process.stdout)
        with suppress(BrokenPipeError):
            asked.write("\n")
            asked.flush()
        if not (answer := answers.readline()):
            raise RuntimeError(f"{' '.join(self.command)} ended before its time")
        return float(json.loads(answer))


def beside(arguments: Any) -> None:
    """Print both checkouts' medians and how many times as fast this one is: by them, the fastest, and each round."""
    import steps

    checkouts = {"here": HERE, "beside": Path(arguments.beside).resolve()}
    results = []
    print("| step | here, ms | beside, ms | ratio | of the fastest | in single rounds |")
    print("|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        steps.write_mnist(Path(folder))
        for row in arguments.rows or steps.ROWS:
            rounds = [a_round(row, checkouts, folder, arguments, number) for number in range(arguments.rounds)]
            seconds = {name: [time for times in rounds for time in times[name]] for name in checkouts}
            of_rounds = [statistics.median(r["beside"]) / statistics.median(r["here"]) for r in rounds]
            here, there = (1000 * statistics.median(seconds[name]) for name in checkouts)
            fastest = min(seconds["beside"]) / min(seconds["here"])
            print(
                f"| {row} | {here:.4g} | {there:.4g} | {there / here:.3f} | {fastest:.3f} "
                f"| {min(of_rounds):.3f} to {max(of_rounds):.3f} |",
                flush=True,
            )
            results.append({"step": row, "ratio": there / here, "of_the_fastest": fastest, "seconds": seconds})
    if arguments.json:
        Path(arguments.json).write_text(json.dumps(results, indent=1))


def a_round(row: str, checkouts: dict[str, Path], folder: str, arguments: Any, number: int) -> dict[str, list[float]]:
    """Seconds a step of each checkout's stretches, whose processes end with the round."""
    times: dict[str, list[float]] = {name: [] for name in checkouts}
    with ExitStack() as stack:
        processes = {
            name: stack.enter_context(Stretches(checkout, row, folder, arguments.device, arguments.threads))
            for name, checkout in checkouts.items()
        }
        for process in processes.values():
            process.seconds()
        for turn in range(number, number + TURNS):
            for name in sorted(processes, reverse=bool(turn % 2)):
                times[name].append(processes[name].seconds())
    return times


def serve(checkout: str, row: str, folder: str, device: str, threads: str, longer: str) -> None:
    """Time a stretch for each line of the input; answers go to the output, all else to the errors' one."""
    answers, sys.stdout = sys.stdout, sys.stderr
    scripts = Path(checkout) / "scripts"
    sys.path[:1] = [str(checkout), str(scripts / "benchmark"), str(scripts)]
    name = next(name for name in MODULES if any((Path(folder) / f"{name}.py").exists() for folder in sys.path[1:3]))
    module = __import__(name)
    module._prepare(int(threads))
    module.ROWS[row].steps *= int(longer)
    for _ in sys.stdin:
        times = module._stretch(row, "ours", Path(folder), device, False)
        print(json.dumps(times.wall if device == "cuda" else times.cpu), file=answers, flush=True)


if __name__ == "__main__":
    serve(*sys.argv[1:])
