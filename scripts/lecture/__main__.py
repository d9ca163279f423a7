"""Draws the figures of the lecture, docs/lecture: what its theorems say, computed with this library.

    python scripts/lecture --out lecture                       # all pages, two at a time
    python scripts/lecture saddle_points --seed 1 --out lecture

Writes FOLDER/PAGE.png and prints what was measured and the processor time it took. One thread a process.
"""

import argparse
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path

from pages import PAGES, write


def main() -> None:
    """Draw the page that is named, or all."""
    parser = argparse.ArgumentParser(
        prog="python scripts/lecture", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("page", nargs="?", choices=PAGES, metavar="PAGE", help=f"one of {', '.join(PAGES)}; or all")
    parser.add_argument("--out", type=Path, default=Path("lecture"), metavar="FOLDER", help="where figures go")
    parser.add_argument("--seed", type=int, default=0, help="of all that is random")
    parser.add_argument("--processes", type=int, default=2, help="pages drawn at a time")
    arguments = parser.parse_args()
    if arguments.processes < 1:
        parser.error(f"argument --processes: {arguments.processes}: at least 1")
    arguments.out.mkdir(parents=True, exist_ok=True)
    if arguments.page:
        print(write(arguments.page, arguments.seed, arguments.out))
        return
    with ProcessPoolExecutor(arguments.processes, get_context("spawn")) as pool:
        longest_first = sorted(PAGES, key=lambda page: page not in ("mode_collapse", "latent_collapse", "cycle"))
        jobs = [pool.submit(write, page, arguments.seed, arguments.out) for page in longest_first]
        for job in as_completed(jobs):
            print(job.result(), flush=True)


if __name__ == "__main__":
    main()
