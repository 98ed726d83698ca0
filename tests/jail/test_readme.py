"""README and docs keep their word: Python, commands and policy are run, their output compared.

A `python` block must print what its comments after `print(...)` say, or the `text` block below it.
One that talks to a server is only compiled: `tests/clients` have the conversations.
A `console` block is commands after `$` and what they print. `...` stands for any text. `sh` blocks
set up a checkout or run these very tests.
"""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from runner.config import Config
from sandbox import Limits, Policy, probe

ROOT = Path(__file__).parents[2]
TESTED_ELSEWHERE = {"docs/evals.md", "docs/faces.md"}
POLICIES = "docs/policy.md"
"""Documents that others run: `tests/evals/test_eval_documents.py`, for its parts build upon one
another; `make test-faces`, where the frameworks are."""
DOCUMENTS = {
    name: path.read_text()
    for path in (ROOT / "README.md", *sorted(ROOT.glob("docs/*.md")))
    if (name := path.relative_to(ROOT).as_posix()) not in TESTED_ELSEWHERE
}
NEEDS_A_SERVER = (
    *("from openai import", "client.responses.", "Sandbox.connect(", "http://127.0.0.1:8000"),
    'engine="ray:',
)
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PROMISE = re.compile(r"print\(.*\)\s+# (.*)$")
ENDS_WITHIN_S = 60.0


class Block(NamedTuple):
    document: str
    line: int
    language: str
    text: str


def blocks(*languages: str) -> list[Block]:
    found = [
        Block(name, text.count("\n", 0, match.start()) + 1, match[1], match[2])
        for name, text in DOCUMENTS.items()
        for match in BLOCK.finditer(text)
    ]
    return [block for block in found if not languages or block.language in languages]


def policy() -> str:
    """The TOML block that is a whole policy."""
    [found] = [block.text for block in blocks("toml") if "[limits]" in block.text]
    return found


def promised(block: Block) -> list[str]:
    """What a Python block must print."""
    following = next(
        (
            other
            for other in blocks()
            if other.document == block.document and other.line > block.line
        ),
        None,
    )
    if following is not None and following.language == "text":
        return following.text.splitlines()
    return [found[1] for line in block.text.splitlines() if (found := PROMISE.search(line))]


def commands(block: Block) -> Iterator[tuple[str, list[str]]]:
    """Each command of a console block with the lines that it must print."""
    for part in re.split(r"^\$ ", block.text, flags=re.MULTILINE)[1:]:
        command, *lines = part.splitlines()
        yield command, lines


def fits(said: list[str], wanted: list[str]) -> bool:
    """Whether the lines are the wanted ones; `...` may stand for more than one line."""
    parts = "\n".join(wanted).split("...")
    pattern = "(?:.|\n)*".join(re.escape(part.rstrip(" ")) for part in parts)
    return re.fullmatch(pattern, "\n".join(said)) is not None


@pytest.fixture(scope="module", autouse=True)
def possible() -> None:
    """README speaks of the default tier."""
    for missing in probe().missing_for("namespaces"):
        pytest.skip(f"{missing.layer}: {missing.seen}. {missing.remedy}")


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with README's policy and a `cellblock` command in it."""
    directory = tmp_path_factory.mktemp("readme")
    (directory / "policy.toml").write_text(policy())
    command = directory / "bin" / "cellblock"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m runner "$@"\n')
    command.chmod(0o755)
    return directory


def run(desk: Path, arguments: list[str]) -> str:
    environment = {
        **os.environ,
        "PATH": f"{desk / 'bin'}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "COLUMNS": "100",
    }
    ran = subprocess.run(
        arguments,
        cwd=desk,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=ENDS_WITHIN_S,
    )
    return ran.stdout


def test_readme_has_what_is_tested_here() -> None:
    assert len(blocks("python")) >= 5
    assert sum(len(list(commands(block))) for block in blocks("console")) >= 8
    assert {block.language for block in blocks()} == {"python", "text", "console", "toml", "sh"}


@pytest.mark.parametrize(
    "block", blocks("python"), ids=lambda block: f"{block.document}:{block.line}"
)
def test_the_python_of_readme_prints_what_it_says(desk: Path, block: Block) -> None:
    if any(word in block.text for word in NEEDS_A_SERVER):
        assert compile(block.text, block.document, "exec")
        return
    assert promised(block)
    said = run(desk, [sys.executable, "-c", block.text])
    assert said.splitlines() == promised(block)


@pytest.mark.parametrize(
    "block", blocks("console"), ids=lambda block: f"{block.document}:{block.line}"
)
def test_the_commands_of_readme_print_what_it_says(desk: Path, block: Block) -> None:
    for command, wanted in commands(block):
        said = run(desk, ["bash", "-c", command])
        assert fits(said.splitlines(), wanted), f"$ {command}\n{said}"


def test_the_policy_of_readme_is_the_default_but_for_what_it_says() -> None:
    told = Policy.from_toml_text(policy())
    assert told == Policy(imports="data", env={"REGION": "eu"})
    assert told.limits.model_fields_set == set(Limits.model_fields)


def test_the_servers_config_in_readme_is_one(tmp_path: Path) -> None:
    parts = [block.text for block in blocks("toml") if block.document != POLICIES]
    for index, part in enumerate(parts):
        path = tmp_path / f"{index}.toml"
        path.write_text(part)
        assert Config.read(path) != Config()
    assert len(parts) >= 2


def test_every_policy_of_the_documents_is_one() -> None:
    parts = [block.text for block in blocks("toml") if block.document == POLICIES]
    for part in parts:
        assert Policy.from_toml_text(part) != Policy()
    assert policy() in parts
    assert len(parts) >= 2


def test_what_readme_leaves_out_of_the_policy_is_right_too(tmp_path: Path) -> None:
    (tmp_path / "datasets").mkdir()
    text = re.sub(r"^# (?=\w+ = )", "", policy(), flags=re.MULTILINE)
    told = Policy.from_toml_text(text, directory=str(tmp_path))
    assert told.tier == "landlock"
    assert told.environment == str(tmp_path / ".venv/bin/python")
    assert [mount.host for mount in told.mounts] == [str(tmp_path / "datasets")]


def test_any_text_may_stand_for_three_dots_and_nothing_else() -> None:
    assert fits(["a b c", "x"], ["a ...", "x"])
    assert fits(["a b", "more", "x"], ["a ...", "x"])
    assert not fits(["a b", "x"], ["a", "x"])
    assert not fits(["a.b"], ["a+b"])
