"""Tests each face with its framework: `python tests/faces/each_framework.py [NAME ...]`.

A framework has an environment of its own below `.venv/faces`, for they ask for versions of one
another's packages that do not agree. It is made anew when its line in `frameworks.txt` changes.
"""

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
TABLE = HERE / "frameworks.txt"
OPTION = "-"
MARKS = (OPTION, "extra:", "npm:")
"""How words of the table begin that name no package: options of pytest, extras, npm's packages."""
TESTING = ("hypothesis>=6.120", "pytest>=8.3", "pytest-asyncio>=0.25")


class Framework(NamedTuple):
    name: str
    packages: tuple[str, ...]
    options: tuple[str, ...] = ()
    """Of pytest."""
    extras: tuple[str, ...] = ()
    """Of Cellblock."""
    from_npm: tuple[str, ...] = ()

    @property
    def place(self) -> Path:
        """Where its environment is kept: by what it is made from."""
        digest = hashlib.sha256(" ".join((*self.all_packages, *TESTING)).encode()).hexdigest()[:12]
        return Path(sys.prefix) / "faces" / f"{self.name}-{digest}"

    @property
    def all_packages(self) -> tuple[str, ...]:
        """What it is tested with."""
        return (*self.packages, *self.extras, *self.from_npm)

    @property
    def python(self) -> str:
        return str(self.place / "bin" / "python")


def frameworks(table: str) -> list[Framework]:
    """The rows of a table; `#` begins a comment."""
    rows = [line.split() for line in table.splitlines() if line and not line.startswith("#")]
    return [_framework(name, words) for name, *words in rows]


def _framework(name: str, words: Sequence[str]) -> Framework:
    found: dict[str, list[str]] = {kind: [] for kind in ("", *MARKS)}
    for word in words:
        mark = next((mark for mark in MARKS if word.startswith(mark)), "")
        found[mark].append(word if mark == OPTION else word.removeprefix(mark))
    options, extras, from_npm = (tuple(found[mark]) for mark in MARKS)
    return Framework(name, tuple(found[""]), options, extras, from_npm)


def install(framework: Framework) -> None:
    """Make the environment of a framework, where it is not there already."""
    done = framework.place / ".installed"
    if done.exists():
        return
    for older in framework.place.parent.glob(f"{framework.name}-*"):
        shutil.rmtree(older)
    extras = f"[{','.join(framework.extras)}]" if framework.extras else ""
    wanted = ["-e", f"{ROOT}{extras}", *framework.packages, *TESTING]
    if shutil.which("uv"):
        run(["uv", "venv", "--quiet", "--python", sys.executable, str(framework.place)])
        run(["uv", "pip", "install", "--quiet", "--python", framework.python, *wanted])
    else:
        run([sys.executable, "-m", "venv", str(framework.place)])
        run([framework.python, "-m", "pip", "install", "--quiet", *wanted])
    if framework.from_npm:
        where = ["--prefix", str(framework.place), "--no-audit", "--no-fund"]
        # The package `node` downloads its program by a script of its own.
        run(["npm", "install", "--silent", *where, *framework.from_npm])
    done.touch()


def run(command: Sequence[str], **variables: str) -> None:
    """Run a command in the checkout. Raises CalledProcessError."""
    subprocess.run(command, cwd=ROOT, check=True, env=os.environ | variables)


def test(framework: Framework, options: Sequence[str]) -> bool:
    """Whether the tests of a face hold with its framework."""
    print(f"\n=== {' '.join(framework.all_packages)}", flush=True)
    try:
        install(framework)
        run(
            [
                framework.python,
                "-m",
                "pytest",
                "-q",
                *framework.options,
                *options,
                f"tests/faces/test_{framework.name}.py",
            ],
            CELLBLOCK_NODE_MODULES=str(framework.place / "node_modules"),
        )
    except subprocess.CalledProcessError as error:
        print(f"{framework.name}: {error}", file=sys.stderr)
        return False
    return True


def main(arguments: Sequence[str]) -> int:
    """Test the frameworks that are named, or all; what begins with `-` is for pytest."""
    options = [one for one in arguments if one.startswith("-")]
    names = [one for one in arguments if not one.startswith("-")]
    known = {one.name: one for one in frameworks(TABLE.read_text())}
    if unknown := [name for name in names if name not in known]:
        print(f"{unknown} are not in {TABLE}, which has {sorted(known)}", file=sys.stderr)
        return 2
    failed = [name for name in names or known if not test(known[name], options)]
    print(
        f"\n{len(names or known) - len(failed)} faces passed. Failed: {', '.join(failed) or 'none'}"
    )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
