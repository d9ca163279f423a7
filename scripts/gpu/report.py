"""The table of what `scripts/gpu.sh` has measured."""

from typing import Any

Row = dict[str, Any]
TITLES = {
    "tests": "Tests",
    "steps": "Training steps",
    "sampling": "Samples of 128 x 128 pixels",
    "scores": "Scores",
    "profile": "Operators of one step",
}
NOTES = ("status", "why")
HEADS = {"took_s": "seconds", "images_s": "images a second", "gflop": "GFLOP", "mib": "MiB"}


def report(result: dict[str, Any]) -> str:
    """The markdown page of a result, as its JSON has it."""
    machine = result["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    lines = ["# " + machine["name"] + (", in miniature" if result["small"] else ""), ""]
    lines += [
        f"{result['date']}, commit {result['commit']}, {versions}. {result['took_s']:.0f} of {result['budget_s']} s.",
        "",
    ]
    stages = result["stages"]
    lines += table(
        [{"stage": name} | {key: stage[key] for key in ("took_s", *NOTES)} for name, stage in stages.items()]
    )
    for name, stage in stages.items():
        if stage["rows"]:
            lines += ["", f"## {TITLES[name]}", ""]
            lines += profiles(stage["rows"]) if name == "profile" else table(with_ratios(stage["rows"]))
    return "\n".join(lines) + "\n"


def with_ratios(rows: list[Row]) -> list[Row]:
    """Rows of steps with how many times as fast as the plain loop each is."""
    plain = {row["step"]: row["ms"] for row in rows if row.get("mode") == "plain loop, float32" and "ms" in row}
    return [
        row | {"times the plain loop": plain[row["step"]] / row["ms"]}
        if "ms" in row and row.get("step") in plain
        else row
        for row in rows
    ]


def profiles(rows: list[Row]) -> list[str]:
    """The operators of each profiled step."""
    lines = table([{key: value for key, value in row.items() if key != "operators"} for row in rows])
    for row in rows:
        if "operators" in row:
            lines += ["", f"`{row['step']}`:", "", *table(row["operators"])]
    return lines


def table(rows: list[Row]) -> list[str]:
    """Rows under the names of their values; what isn't measured says why in the last column."""
    columns = [key for key in dict.fromkeys(key for row in rows for key in row) if key not in NOTES]
    noted = any(key in row for row in rows for key in NOTES)
    lines = [[*(HEADS.get(column, column) for column in columns), *(["note"] if noted else [])]]
    lines.append(["---"] * len(lines[0]))
    for row in rows:
        note = ": ".join(str(row[key]) for key in NOTES if row.get(key))
        lines.append([*(_text(row.get(column)) for column in columns), *([note] if noted else [])])
    return [f"| {' | '.join(cell.replace('|', '/') for cell in line)} |" for line in lines]


def _text(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) else str(value)
