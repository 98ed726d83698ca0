"""What each face can do, as docs/conformance.md shows it; `COMMAND` writes it."""

from pathlib import Path

from tests.conformance import edge_checks, tool_checks
from tests.conformance.checks import CHECKS
from tests.conformance.subjects import FACES

LOADED = (edge_checks, tool_checks)
"""Their checks are on the list by being loaded."""
DOCUMENT = Path(__file__).parents[2] / "docs" / "conformance.md"
COMMAND = "PYTHONPATH=.:tests/clients:tests/unit/runner .venv/bin/python -m tests.conformance.table"
HEAD = f"""# What each way to a session can do

A session is the same whichever way leads to it; the ways differ in what they have calls for.
Below is what `tests/conformance` checks of each: the same small checks are put to all of them. A
way that cannot do a thing says why, and its check has to fail there: one that passes after all
fails the tests.

This page is written by `{COMMAND}`.
"""


def document() -> str:
    """The page."""
    whole = [face.name for face in FACES.values() if not face.lacks]
    parts = [HEAD, f"All {len(CHECKS)} checks pass with {_listed(whole)}.\n"]
    ways: dict[tuple[tuple[str, str], ...], list[str]] = {}
    for face in FACES.values():
        if face.lacks:
            ways.setdefault(tuple(face.lacks.items()), []).append(face.name)
    parts += [_section(dict(lacks), names) for lacks, names in ways.items()]
    checks = "\n".join(f"- {_words(name)}" for name in CHECKS)
    return "\n".join([*parts, f"## The checks\n\nA session\n\n{checks}\n"])


def _section(lacks: dict[str, str], names: list[str]) -> str:
    by_reason: dict[str, list[str]] = {}
    for check in CHECKS:
        if check in lacks:
            by_reason.setdefault(lacks[check], []).append(_words(check))
    passed = len(CHECKS) - len(lacks)
    rows = [
        f"| {reason} | {'; '.join(checks) if passed > 5 else f'all other {len(checks)}'} |"
        for reason, checks in by_reason.items()
    ]
    can = ", ".join(_words(check) for check in CHECKS if check not in lacks)
    return "\n".join(
        [
            f"## {' and '.join(names)}\n",
            f"{passed} of {len(CHECKS)}: it {can}.\n",
            "| why not | what it does not |",
            "|---|---|",
            *rows,
            "",
        ]
    )


def _words(name: str) -> str:
    return name.replace("_", " ")


def _listed(names: list[str]) -> str:
    *first, last = [f"`{name}`" if name.endswith("Session") else name for name in names]
    return f"{', '.join(first)} and {last}"


if __name__ == "__main__":
    DOCUMENT.write_text(document())
