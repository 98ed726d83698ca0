"""`make demo`: real snippets in a real jail, and what became of each; then a model writes some.

Every answer that is shown was computed by the run that shows it. The first part takes less than a
minute. The second is two commands, run as anyone would; the first of them fetches 1.1 GB, once.
"""

import base64
import os
import shlex
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

from rich.console import Console, Group, RenderableType
from rich.panel import Panel
from rich.syntax import Syntax
from rich.table import Table
from rich.text import Text

from runner.commands.printing import wording
from runner.extras import install_command
from runner.terminal import escaped, one_line
from sandbox import (
    EnvironmentFailed,
    Limits,
    Outcome,
    Policy,
    Raised,
    Sandbox,
    SandboxError,
)

WIDTH: Final = 96
PICTURE: Final = Path("cellblock-demo.png")
PRELOAD: Final = ("numpy", "pandas", "matplotlib.pyplot")
EXIT_ENGINE_FAILED: Final = 125
EXIT_INTERRUPTED: Final = 128 + signal.SIGINT

QUESTION: Final = "What is 123 to the 21st power?"
NEXT: Final = "README.md, and .venv/bin/cellblock with chat, repl, doctor or --help"
BIG: Final = "123 ** 21"
TABLE: Final = """\
import pandas as pd
sales = pd.read_csv("sales.csv")
sales.groupby("region")["amount"].agg(["count", "sum", "mean"]).round(2)
"""
SALES: Final = """\
region,amount
North,120.50
South,80.25
North,99.90
East,210.00
South,45.75
East,130.10
"""
PLOT: Final = """\
import matplotlib.pyplot as plt
totals = sales.groupby("region")["amount"].sum()
totals.plot.bar(title="Sales by region", rot=0)
"""
COUNT: Final = """\
rounds = 0
while True:
    rounds += 1
"""
STUBBORN: Final = """\
sales = "gone?"
while True:
    try:
        while True:
            pass
    except KeyboardInterrupt:
        print("no, thank you")
"""
AFTER: Final = "type(sales).__name__, len(sales), rounds > 100_000"
ATTACKS: Final = (  # what it goes for            the snippet
    ("a file of yours", 'print(open("SECRET_FILE").read())'),
    ("the password file", 'print(open("/etc/shadow").read())'),
    ("the internet", 'import socket; socket.create_connection(("1.1.1.1", 53), 3)'),
    ("this very process", "import os, signal; os.kill(DEMO_PID, signal.SIGKILL)"),
    ("the rights of root", "import os; os.setuid(0)"),
    ("all memory", 'hoard = []\nwhile True:\n    hoard.append(bytearray(b"x") * 10_000_000)'),
    ("all processes", "import os\nwhile True:\n    os.fork()"),
)


def main() -> int:
    """Run the demo; the exit status."""
    console = Console(highlight=False)
    if not console.is_terminal or console.width > WIDTH:
        console = Console(highlight=False, width=WIDTH)
    try:
        show(console)
        show_model(console)
    except KeyboardInterrupt:
        console.print("Stopped.")
        return EXIT_INTERRUPTED
    except EnvironmentFailed as error:
        console.print(Text(escaped(str(error)), "red"))
        console.print(f"The demo wants data packages: {install_command('data')}")
        return EXIT_ENGINE_FAILED
    except SandboxError as error:
        console.print(Text(escaped(str(error)), "red"))
        console.print("`cellblock doctor` tells what this machine lacks, and the remedy.")
        return EXIT_ENGINE_FAILED
    return 0


def show(console: Console) -> None:
    """Show one sandbox, one session, and a fresh jail for each attack."""
    limits = Limits(wall_s=20, memory_bytes=256 * 1024 * 1024, processes=32)
    policy = Policy(preload=PRELOAD, limits=limits)
    console.print("Cellblock: Python that models write, in jails that the kernel enforces.")
    with Sandbox(policy) as box:
        with box.session() as session:
            held = ", ".join(session.enforcement)
            console.print(f"Tier {policy.tier}, these layers hold: {held}.", style="dim")
            step(console, "A big integer", BIG, session.run(BIG))
            session.put("sales.csv", SALES)
            step(console, "A table, from a file that was put in", TABLE, session.run(TABLE))
            drawn = session.run(PLOT)
            step(console, "A plot, handed out as a picture", PLOT, drawn, _saved(drawn))
            stopped = session.run(COUNT, limits=Limits(wall_s=1))
            step(console, "An endless loop, interrupted: its variables stay", COUNT, stopped)
            killed = session.run(STUBBORN, limits=Limits(wall_s=1))
            step(console, "One that will not be interrupted: killed", STUBBORN, killed)
            step(console, "The session after that kill: all is there", AFTER, session.run(AFTER))
        console.print(_attacks(box))


def show_model(console: Console) -> None:
    """Show the whole loop: a question, the code that a model writes for it, its run, the answer."""
    console.print("And a model that writes the code. None at hand? A small one runs right here.")
    has_other = any(os.environ.get(name) for name in ("CELLBLOCK_MODEL_URL", "CELLBLOCK_CONFIG"))
    if not has_other and not _did(console, "model", "install"):
        console.print(
            "So the model is left out here; all above needs none. README.md tells how to name one."
        )
    elif not _did(console, "chat", QUESTION):
        console.print("So much for the model; all above needs none.")
    console.print(f"Next: {NEXT}")


def _did(console: Console, *arguments: str) -> bool:
    """Show a command of `cellblock` and run it; whether it went well."""
    console.print(f"$ cellblock {shlex.join(arguments)}", style="bold")
    return subprocess.run([sys.executable, "-m", "runner", *arguments]).returncode == 0


def step(
    console: Console, title: str, code: str, outcome: Outcome, note: RenderableType | None = None
) -> None:
    """Print a snippet and what became of it."""
    parts: list[RenderableType] = [Syntax(code.rstrip(), "python", background_color="default")]
    printed = (outcome.stdout.rstrip(), outcome.text)
    parts += [Text(escaped(text), "bold") for text in printed if text]
    if isinstance(outcome, Raised):
        parts.append(Text(escaped(outcome.error.traceback.rstrip()), "red"))
    if note is not None:
        parts.append(note)
    verdict = Text(f"{wording.ending(outcome)}; {wording.state(outcome)}", "dim")
    verdict.append(f"\n{wording.bill(outcome)}")
    console.print(Panel(Group(*parts, verdict), title=title, title_align="left"))


def _saved(outcome: Outcome) -> RenderableType:
    """Write the picture that the snippet showed, and say where it is."""
    for bundle in outcome.displays:
        if "image/png" in bundle:
            data = base64.b64decode(bundle["image/png"])
            PICTURE.write_bytes(data)
            return Text(f"saved {PICTURE} ({wording.size(len(data))})", "bold")
    return Text("no picture was shown", "red")


def _attacks(box: Sandbox) -> RenderableType:
    rows = Table("attack on", "what became of it", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    with tempfile.NamedTemporaryFile("w", prefix="secret-") as secret:
        secret.write("a secret of the host")
        secret.flush()
        for target, code in ATTACKS:
            aimed = code.replace("SECRET_FILE", secret.name).replace("DEMO_PID", str(os.getpid()))
            rows.add_row(target, Text(_answer(box.run(aimed))))
    return Panel(rows, title="Attacks, each in a jail of its own", title_align="left")


def _answer(outcome: Outcome) -> str:
    if isinstance(outcome, Raised):
        return f"{outcome.error.type}: {one_line(outcome.error.message)}"
    printed = one_line(outcome.stdout.strip())
    return f"{wording.ending(outcome)}{': it got ' + printed if printed else ''}"


if __name__ == "__main__":
    sys.exit(main())
