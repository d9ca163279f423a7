"""The packages that `scripts/gpu.sh` needs: which are missing, their wheels, an environment without a network.

    scripts/gpu.sh wheels FOLDER [--python 3.12] [--torch 2.11] [--platform PLATFORM ...] [--have PACKAGE ...]

downloads wheels for a machine that has torch, lightning and torchmetrics, by default one of Linux on x86-64.
"""

import argparse
import os
import re
import site
import subprocess
import sys
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).parents[2]
HAD = ("torch", "lightning", "torchmetrics")  # by the machine, whose torch fits its driver
PLATFORMS = [f"manylinux_2_{n}_x86_64" for n in (28, 27, 24, 17)] + ["manylinux2014_x86_64", "manylinux1_x86_64"]


def requirements() -> list[str]:
    """What the library and its tests on a GPU need, as pyproject.toml has it.

    Raises:
        ValueError: this Python can't read that.
    """
    if sys.version_info < (3, 11):
        raise ValueError(f"Python {sys.version_info[0]}.{sys.version_info[1]}: at least 3.11 is needed")
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    pytest = [line for line in project["optional-dependencies"]["test"] if _name(line) == "pytest"]
    return [*project["dependencies"], *pytest]


def missing() -> list[str]:
    """The requirements that this interpreter doesn't meet."""
    try:
        from packaging.requirements import Requirement
    except ModuleNotFoundError:
        return ["packaging"]

    def met(line: str) -> bool:
        requirement = Requirement(line)
        try:
            return requirement.specifier.contains(metadata.version(requirement.name), prereleases=True)
        except metadata.PackageNotFoundError:
            return False

    return [line for line in requirements() if not met(line)]


def environment(folder: Path, wheels: Path) -> Path:
    """The interpreter of a new environment: this one's packages, and what they lack of the wheels.

    Raises:
        ValueError: the wheels don't hold what is missing.
    """
    make = [sys.executable, "-m", "venv", "--without-pip", "--system-site-packages", str(folder)]
    done = subprocess.run(make, capture_output=True, text=True)
    if done.returncode:
        raise ValueError(f"no environment could be made: {_last_line(done)}")
    # From within an environment `--system-site-packages` means those of the Python below it.
    (own,) = (folder / "lib").glob("python*/site-packages")
    own.joinpath("parent.pth").write_text("".join(f"{path}\n" for path in site.getsitepackages()))
    python = folder / "bin" / "python"
    install = [python, "-m", "pip", "install", "--quiet", "--no-index", "--find-links", wheels, *requirements()]
    done = subprocess.run(list(map(str, install)), capture_output=True, text=True)
    if done.returncode:
        raise ValueError(f"--wheels {wheels}: {_last_line(done)}")
    return python


def download(folder: Path, python: str, torch: str, platforms: list[str], have: list[str]) -> None:
    """Wheels of the requirements, and of what these need, but for the packages that the machine has.

    torchvision's version goes with torch's, 0.26 with 2.11; it is taken without what it needs, which is torch.
    """
    folder.mkdir(parents=True, exist_ok=True)
    target = ["--only-binary=:all:", "--implementation", "cp", "--python-version", python]
    target += [part for platform in platforms for part in ("--platform", platform)]
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--dest", str(folder), *target]
    left_out = {_name(name) for name in (*HAD, *have)}
    wanted = [line for line in requirements() if _name(line) not in {*left_out, "torchvision"}]
    subprocess.run([*pip, *wanted], check=True)
    if "torchvision" not in left_out:
        subprocess.run([*pip, "--no-deps", f"torchvision==0.{int(torch.split('.')[1]) + 15}.*"], check=True)
    for wheel in folder.glob("*.whl"):  # which came as something that another one needs
        if _name(wheel.name.partition("-")[0]) in left_out:
            wheel.unlink()


def _name(requirement: str) -> str:
    return re.sub(r"[-_.]+", "-", re.match(r"[\w.-]+", requirement)[0]).lower()


def _last_line(done: "subprocess.CompletedProcess[str]") -> str:
    return (done.stderr.strip() or done.stdout.strip()).splitlines()[-1]


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="scripts/gpu.sh wheels", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="for the wheels")
    parser.add_argument("--python", default="3.12", help="that machine's (%(default)s)")
    parser.add_argument("--torch", default="2.11", help="that machine's, of which torchvision's follows (%(default)s)")
    parser.add_argument("--platform", nargs="+", default=PLATFORMS, help="as pip calls them (Linux on x86-64)")
    parser.add_argument("--have", nargs="+", default=[], help=f"packages that the machine has beside {', '.join(HAD)}")
    given = parser.parse_args()
    if not re.fullmatch(r"2\.\d+(\.\d+)?", given.torch):
        parser.error(f"--torch {given.torch}: a version such as 2.11")
    try:
        download(given.folder, given.python, given.torch, given.platform, given.have)
    except ValueError as error:
        parser.error(str(error))
    except subprocess.CalledProcessError:  # pip has said why
        sys.exit(f"{parser.prog}: {given.folder} is not complete")
    wheels = list(given.folder.glob("*.whl"))
    print(f"{len(wheels)} wheels, {sum(map(os.path.getsize, wheels)) / 2**20:.0f} MiB, in {given.folder}")


if __name__ == "__main__":
    main()
