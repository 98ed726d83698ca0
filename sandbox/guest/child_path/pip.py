"""What `pip` is for programs that a snippet starts where there is no network.

Found before an installed pip, by `python -m pip` and by pip's own program. It has that pip do what
needs no network, and says at once what cannot be done and what is there instead.
"""

import importlib.metadata
import importlib.util
import os
import re
import subprocess
import sys
from types import ModuleType

HERE = os.path.dirname(os.path.abspath(__file__))
NEEDS_NETWORK = ("install", "download", "wheel", "index", "search")
LISTING = ("list", "freeze")
OUTCOME = ("ERROR: No matching distribution", "ERROR: Could not find a version")
"""How pip says that it found nothing, in words that are not true of a place without a network."""
NAME = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)(?:\[[^\]]*\])?\s*(?:[<>=!~].*)?")
LOCAL = ("-r", "--requirement", "-f", "--find-links", "-e", "--editable", "-t", "--target")
"""Options whose values are no packages."""
KNOWN = (
    *("numpy", "pandas", "polars", "scipy", "matplotlib", "seaborn", "plotly", "scikit-learn"),
    *("statsmodels", "sympy", "networkx", "torch", "pillow", "openpyxl", "requests", "lxml"),
    *("beautifulsoup4", "duckdb", "pyarrow", "xgboost", "tabulate", "pyyaml", "tqdm"),
)
"""What is named first: packages that programs use by themselves."""
NAMED = 60
NO_NETWORK = (
    "ERROR: There is no network here, so pip cannot fetch packages.\n"
    "Installed: {names}.\n"
    "The owner of the sandbox can add a package to its environment:"
    " {interpreter} -m pip install {wanted}\n"
    "There is no network."
)


def main(arguments: list[str] | None = None) -> int:
    """Run pip with `arguments`, those of the command line if there are none."""
    words = sys.argv[1:] if arguments is None else arguments
    command = next((word for word in words if not word.startswith("-")), "")
    status = 1 if _needs_network(words, command) else _run_installed(words, command)
    if status is None:
        if command in LISTING:
            return _list()
        if command not in NEEDS_NETWORK:
            print("ERROR: pip is not installed in this environment.", file=sys.stderr)
            return 1
        status = 1
    if status and command in NEEDS_NETWORK:
        wanted = [word for word in words if not word.startswith("-") and word != command]
        print(
            NO_NETWORK.format(
                names=", ".join(_names()) or "nothing",
                interpreter=sys.executable,
                wanted=" ".join(wanted) or "PACKAGE",
            ),
            file=sys.stderr,
        )
    return status


def _needs_network(words: list[str], command: str) -> bool:
    """Whether it is plain that packages are wanted which are not here; pip takes long to see it."""
    if command not in ("install", "download") or any(word in LOCAL for word in words):
        return False
    named = [NAME.fullmatch(word) for word in words if word != command]
    return any(found is not None and not _is_here(found[1]) for found in named)


def _is_here(name: str) -> bool:
    try:
        importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        return os.path.exists(name)
    return True


def _run_installed(words: list[str], command: str) -> int | None:
    """The exit status of the environment's pip; None if it has none."""
    entries = [entry for entry in sys.path if os.path.abspath(entry or ".") != HERE]
    if importlib.machinery.PathFinder.find_spec("pip", entries) is None:
        return None
    environment = dict(os.environ, PIP_NO_INDEX="1", PIP_DISABLE_PIP_VERSION_CHECK="1")
    kept = environment.get("PYTHONPATH", "").split(os.pathsep)
    environment["PYTHONPATH"] = os.pathsep.join(
        entry for entry in kept if os.path.abspath(entry or ".") != HERE
    )
    done = subprocess.run(
        [sys.executable, "-m", "pip", *words],
        env=environment,
        stderr=subprocess.PIPE if command in NEEDS_NETWORK else None,
        check=False,
    )
    for line in (done.stderr or b"").decode(errors="replace").splitlines():
        if not line.startswith(OUTCOME):
            print(line, file=sys.stderr)
    return done.returncode


def _list() -> int:
    for found in sorted(importlib.metadata.distributions(), key=lambda one: one.name.lower()):
        print(f"{found.name}=={found.version}")
    return 0


def _names() -> list[str]:
    found = {found.name.lower(): found.name for found in importlib.metadata.distributions()}
    names = [found.pop(name) for name in KNOWN if name in found]
    names += [found[name] for name in sorted(found)]
    more = len(names) - NAMED
    return names[:NAMED] + ([f"and {more} more (pip list)"] if more > 0 else [])


def _offer_program() -> None:
    """Have what pip's own program imports of `pip._internal.cli.main` be `main`."""
    __path__: list[str] = []
    globals()["__path__"] = __path__
    for name in ("pip._internal", "pip._internal.cli", "pip._internal.cli.main"):
        module = ModuleType(name)
        module.__path__ = __path__
        vars(module).update(main=main, cli=main)
        sys.modules[name] = module


if __name__ == "__main__":
    sys.exit(main())
_offer_program()
