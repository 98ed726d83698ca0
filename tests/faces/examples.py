"""Examples of docs/faces.md, which run where their framework is installed."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCUMENT = ROOT / "docs" / "faces.md"
LINES_CAP = 15
ENDS_WITHIN_S = 120.0
PROMISE = re.compile(r"print\(.*\)\s+# (.*)$", re.MULTILINE)


def example(heading: str) -> str:
    """The Python below a heading of the document."""
    _, found, section = DOCUMENT.read_text().partition(f"\n## {heading}\n")
    assert found, f"{DOCUMENT} has no heading {heading!r}"
    block = re.search(r"^```python\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    assert block is not None
    return block[1]


def check(heading: str) -> None:
    """Run the example below a heading; it prints what it says, and is short."""
    code = example(heading)
    assert len([line for line in code.splitlines() if line.strip()]) <= LINES_CAP
    wanted = PROMISE.findall(code)
    assert wanted
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=ENDS_WITHIN_S
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.splitlines() == wanted
