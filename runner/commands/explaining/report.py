"""The account of a run as Markdown, to attach to a ticket. Guest text cannot become markup."""

from runner.commands.explaining import account
from runner.commands.printing import wording
from runner.terminal import escaped
from sandbox import Outcome, Verdict

CODE_CAP = 20_000
FENCE = "````"
SPECIAL = "\\`*_{}[]<>#|!~&"


def report(outcome: Outcome, verdict: Verdict, code: str, name: str) -> str:
    """Return the report of a run of `code`, which stood in `name`."""
    parts = [
        f"# {_safe(name)}: {verdict.severity}",
        "",
        f"**{verdict.severity}**: {_safe(verdict.reason)}",
        "",
        f"- ended: {_safe(wording.ending(outcome))}",
        f"- bill: {_safe(wording.bill(outcome))}",
        f"- layers: {_safe(account.layers(outcome))}",
        "",
    ]
    for section in account.sections(outcome):
        parts += [f"## {section.title.capitalize()}", ""]
        for line in section.lines:
            parts.append(f"- {_safe(line.text)}")
            parts += [f"  - {_safe(other)}" for other in line.more]
        parts += [] if section.lines else ["- nothing"]
        parts.append("")
    source = "\n".join(map(escaped, code[:CODE_CAP].splitlines())).replace("```", "` ` `")
    parts += ["## Source", "", f"{FENCE}python", source.rstrip("\n"), FENCE, ""]
    parts += ["What is marked by the interpreter alone a hostile snippet can forge or leave out;"]
    parts += ["refused system calls are the kernel's word. No report shows that a snippet is safe."]
    return "\n".join(parts) + "\n"


def _safe(text: str) -> str:
    """`text` on one line, without what Markdown reads as markup."""
    line = escaped(" ".join(text.splitlines()))
    return "".join(f"\\{sign}" if sign in SPECIAL else sign for sign in line)
