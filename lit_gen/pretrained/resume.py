"""Finding the checkpoint from which an experiment continues."""

from pathlib import Path

from lit_gen.files import check_archive

LAST, PREVIOUS = "last.ckpt", "previous.ckpt"


def last_checkpoint(experiment: str | Path) -> Path | None:
    """The checkpoint written last in any run of an experiment, ``<experiment>/<time>/checkpoints/last.ckpt``.

    None if there is none. It may be damaged: nothing older is put in its place unasked.
    """
    found = Path(experiment).glob(f"*/checkpoints/{LAST}")
    return max(found, key=lambda path: path.stat().st_mtime_ns, default=None)


def whole_before(path: str | Path) -> Path | None:
    """The newest whole checkpoint older than the damaged ``path``, of its run or of an earlier one; None if there is
    none.
    """
    path = Path(path)
    age = path.stat().st_mtime_ns
    runs = path.parent.parent.parent.glob("*/checkpoints") if path.parent.name == "checkpoints" else []
    found = {file for folder in {path.parent, *runs} for file in folder.glob("*.ckpt")} - {path}
    older = [file for file in found if file.name in (LAST, PREVIOUS) and file.stat().st_mtime_ns <= age]
    for file in sorted(older, key=lambda file: file.stat().st_mtime_ns, reverse=True):
        try:
            check_archive(file)
        except (OSError, ValueError):
            continue
        return file
    return None
