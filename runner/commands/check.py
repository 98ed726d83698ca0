"""`cellblock check`: what a snippet would need and what would be refused, from reading it."""

import json
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table
from rich.text import Text

from runner.commands.printing.consoles import console, print_trimmed
from runner.terminal import one_line
from sandbox import Checked, Policy, Sandbox

EXIT_NOTHING_REFUSED = 0
EXIT_NO_PYTHON = 1
EXIT_FLAGGED = 1
EXIT_REFUSED = 126
REFUSING = ("refuse", "kill")
SEVERITIES = ("note", "warning", "danger")
STYLES = {"note": "", "warning": "yellow", "danger": "red"}
SARIF_LEVELS = {"note": "note", "warning": "warning", "danger": "error"}
SARIF_SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"


@dataclass(frozen=True)
class CheckRequest:
    """What `cellblock check` was asked for."""

    code: str
    policy: Policy
    file: str = "-"
    as_json: bool = False
    as_sarif: bool = False
    fail_on: str | None = None
    """The least severity that makes the exit status 1."""


def execute(request: CheckRequest) -> int:
    """Check the snippet and print what was found; the exit status."""
    policy = request.policy
    # Nothing runs, so nothing need be imported ahead of it.
    reading = policy.model_copy(update={"preload": (), "survive": False})
    with Sandbox(reading, pool_size=0) as box:
        found = box.check(request.code)
    if request.as_sarif:
        print(json.dumps(to_sarif(found, request.file)))
    elif request.as_json:
        print(json.dumps(to_object(found)))
    else:
        render(found, policy, console())
    if found.syntax_error:
        return EXIT_NO_PYTHON
    if request.fail_on is not None and is_flagged(found, request.fail_on):
        return EXIT_FLAGGED
    return EXIT_REFUSED if found.refusals else EXIT_NOTHING_REFUSED


def is_flagged(found: Checked, least: str) -> bool:
    """Return whether a finding is as severe as `least`."""
    severe = SEVERITIES[SEVERITIES.index(least) :]
    return any(row[2] in severe for row in found.findings)


def to_object(found: Checked) -> dict[str, object]:
    """Return the findings as JSON has them."""
    return {
        "imports": [
            dict(zip(("module", "line", "action", "rule"), row, strict=True))
            for row in found.imports
        ],
        "refusals": [
            dict(zip(("line", "construct", "reason"), row, strict=True)) for row in found.refusals
        ],
        "syntax_error": found.syntax_error,
        "findings": [
            dict(zip(("line", "kind", "severity", "what", "reason"), row, strict=True))
            for row in found.findings
        ],
    }


def to_sarif(found: Checked, file: str) -> dict[str, object]:
    """The findings and refusals as a SARIF 2.1.0 log, which code hosts show beside the lines."""
    rows = [
        (int(line), f"cellblock/{str(kind).replace(' ', '-')}", str(severity), f"{what}: {reason}")
        for line, kind, severity, what, reason in found.findings
    ]
    rows += [
        (int(line), "cellblock/refused", "danger", f"{construct}: {reason}")
        for line, construct, reason in found.refusals
    ]
    results = [
        {
            "ruleId": rule,
            "level": SARIF_LEVELS[severity],
            "message": {"text": text},
            "locations": [
                {
                    "physicalLocation": {
                        "artifactLocation": {"uri": file},
                        "region": {"startLine": max(1, line)},
                    }
                }
            ],
        }
        for line, rule, severity, text in rows
    ]
    rules = [{"id": rule} for rule in sorted({row[1] for row in rows})]
    driver = {"name": "cellblock check", "rules": rules}
    return {
        "$schema": SARIF_SCHEMA,
        "version": "2.1.0",
        "runs": [{"tool": {"driver": driver}, "results": results}],
    }


def render(found: Checked, policy: Policy, out: Console) -> None:
    """Print the findings as text."""
    if found.syntax_error:
        out.print(Text(f"It does not compile: {one_line(found.syntax_error)}", "red"))
        return
    if found.imports:
        table = _table("imports", "line", "action", "rule")
        for module, line, action, rule in found.imports:
            style = "red" if action in REFUSING else ""
            cells = (one_line(str(cell)) for cell in (module, line, action))
            table.add_row(*(Text(cell, style) for cell in cells), Text(one_line(str(rule))))
        print_trimmed(table, out)
    else:
        out.print("It imports nothing.")
    out.print()
    if found.findings:
        table = _table("line", "severity", "kind", "what", "why")
        for line, kind, severity, what, reason in found.findings:
            style = STYLES[str(severity)]
            shown = (line, severity, kind, what, reason)
            table.add_row(*(Text(one_line(str(cell)), style) for cell in shown))
        print_trimmed(table, out)
        out.print(NO_CLAIM)
        out.print()
    if not found.refusals:
        out.print(Text(f"Nothing would be refused (language {policy.language}).", "green"))
        return
    table = _table("line", "would be refused", "why")
    for line, construct, reason in found.refusals:
        table.add_row(str(line), Text(one_line(str(construct)), "red"), Text(one_line(str(reason))))
    print_trimmed(table, out)


NO_CLAIM = Text("Found by reading; a snippet without findings is not shown to be safe.", "dim")


def _table(*headings: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="bold")
    for heading in headings:
        table.add_column(heading, overflow="fold")
    return table
