"""Installs the package apart and tries it: `make test-install`, `make test-lowest`.

`install`: a wheel and a source distribution, into clean environments of each Python that is there.
`lowest`: the oldest versions that pyproject.toml allows, with the unit tests and some jails.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
PYTHONS = ("3.11", "3.12", "3.13")
LOWEST_PYTHON = "3.11"
EXTRAS = "data,server,jupyter,otel,secrets"
"""What is tried with the oldest versions. `mcp` needs a newer pydantic than the rest does."""
TOOLS = (
    "pytest>=8.3",
    "pytest-asyncio>=0.25",
    "pytest-xdist>=3.6",
    "hypothesis>=6.120",
    "dashscope>=2.0",
    "grafana-foundation-sdk",
    "hatchling>=1.27",
    "jupyter-client>=8.6",
    "sandbox-fusion>=0.3",
    "sympy>=1.14",
    "trustme>=1.2",
)
LEFT_OUT = (
    "tests/unit/runner/test_inner_fields.py",
    "tests/unit/runner/test_request_fields.py",
)
"""They look at what `openai` declares, which needs a newer httpx2 than ours is."""
TRIED = (
    "tests/jail/test_session.py",
    "tests/jail/test_tiers.py",
    "tests/clients/test_sessions_api.py",
)
SAYS = "import cellblock, sandbox; assert cellblock.Sandbox is sandbox.Sandbox"
SNIPPET = "import sys; print(*sys.version_info[:2], sep='.'); 6 * 7"


def run(*command: object, cwd: Path = ROOT) -> str:
    """What a command prints; the program ends where it fails."""
    words = [str(word) for word in command]
    done = subprocess.run(words, cwd=cwd, text=True, stdout=subprocess.PIPE, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(words)}: exit status {done.returncode}\n{done.stdout}")
    return done.stdout


def environment(place: Path, python: str, *wanted: object) -> Path:
    """The `bin` of a new environment with `wanted` in it and nothing else."""
    run("uv", "venv", "--quiet", "--no-project", "--python", python, place)
    run("uv", "pip", "install", "--quiet", "--python", place / "bin" / "python", *wanted)
    return place / "bin"


def python_of(version: str) -> str | None:
    """The path of such a Python, if this machine has one that uv or pyenv knows."""
    find = ["uv", "python", "find", "--no-python-downloads", "--no-project", version]
    found = subprocess.run(find, capture_output=True, text=True, check=False)
    if found.returncode == 0:
        return found.stdout.strip()
    kept = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv") / "versions"
    return next((str(one) for one in sorted(kept.glob(f"{version}.*/bin/python"))), None)


def check(place: Path, programs: Path, version: str) -> None:
    """Try an installed package, from a directory that has nothing of the tree."""
    said = run(programs / "cellblock", "run", "-c", SNIPPET, cwd=place)
    if said != f"{version}\n42\n":
        sys.exit(f"cellblock run said {said!r}")
    run(programs / "python", "-c", SAYS, cwd=place)
    run(programs / "python", "-m", "runner", "--version", cwd=place)
    run("uv", "pip", "check", "--quiet", "--python", programs / "python", cwd=place)


def try_installs(place: Path) -> None:
    """Wheel and source distribution, with each Python; then by tools that run a package once."""
    run("uv", "build", "--quiet", "--out-dir", place / "dist")
    (wheel,) = (place / "dist").glob("*.whl")
    (source,) = (place / "dist").glob("*.tar.gz")
    for version in PYTHONS:
        python = python_of(version)
        if python is None:
            print(f"Python {version} is not here: not tried", flush=True)
            continue
        for name, file in (("wheel", wheel), ("source", source)):
            check(place, environment(place / f"{name}-{version}", python, file), version)
            print(f"{name} with Python {version}: runs", flush=True)
        programs = environment(place / f"server-{version}", python, f"{wheel}[server]")
        check(place, programs, version)
        run(programs / "cellblock", "serve", "--print-config", cwd=place)
        run(programs / "python", "-c", "import runner.server.app", cwd=place)
        print(f"wheel[server] with Python {version}: loads", flush=True)
    once = ("cellblock", "run", "-c", "6 * 7")
    tools = {
        "uvx": ("uvx", "--from", wheel, *once),
        "pipx": ("uvx", "pipx", "run", "--spec", wheel, *once),
    }
    for tool, command in tools.items():
        if (said := run(*command, cwd=place)) != "42\n":
            sys.exit(f"{tool} said {said!r}")
        print(f"{tool}: runs", flush=True)


def floors() -> list[str]:
    """The oldest version of each package that pyproject.toml names, as constraints."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    named = list(project["dependencies"])
    for extra in EXTRAS.split(","):
        named += project["optional-dependencies"][extra]
    named += project["optional-dependencies"]["web"]
    names = {re.split(r"[\[<>=!~ ]", one)[0].lower() for one in named} - {"cellblock"}
    options = [word for extra in EXTRAS.split(",") for word in ("--extra", extra)]
    resolved = run(
        *("uv", "pip", "compile", "--quiet", "--no-header", "--no-annotate"),
        *("--resolution", "lowest-direct", "--python", LOWEST_PYTHON, *options, "pyproject.toml"),
    )
    return [line for line in resolved.splitlines() if line.partition("==")[0] in names]


def try_lowest(place: Path) -> None:
    """The unit tests, and some with jails and a server, with the oldest versions."""
    lowest = floors()
    print("With", ", ".join(lowest), flush=True)
    constraints = place / "floors.txt"
    constraints.write_text("\n".join(lowest))
    programs = environment(
        place / "lowest", LOWEST_PYTHON, "-c", constraints, "-e", f".[{EXTRAS}]", *TOOLS
    )
    ignored = [f"--ignore={path}" for path in LEFT_OUT]
    for options in (("-m", "not slow and not corpora", "tests/unit", *ignored), TRIED):
        command = [programs / "python", "-m", "pytest", "-q", "-p", "no:cacheprovider", *options]
        if subprocess.run(command, cwd=ROOT, check=False).returncode:
            sys.exit("It does not hold with the oldest versions.")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("install", "lowest"))
    what = parser.parse_args().what
    with tempfile.TemporaryDirectory() as place:
        (try_installs if what == "install" else try_lowest)(Path(place))


if __name__ == "__main__":
    main()
