"""What the documents point at exists, and the threat table leaves no category out."""

import re
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest

from runner.cli import commands
from sandbox.outcome import EXIT_STATUS
from sandbox.policy.lowering import LAYERS_OF
from sandbox.processes import worker_state
from sandbox.protocol.messages import SPECS

ROOT = Path(__file__).parents[2]
NO_TESTS_OF_THEIR_OWN = {"sandbox/alias"}
"""One line, which the tests of the wheel import."""
ATTACKS = ROOT / "tests" / "jail" / "attacks"
SECURITY = (ROOT / "SECURITY.md").read_text()
README = (ROOT / "README.md").read_text()
ARCHITECTURE = (ROOT / "ARCHITECTURE.md").read_text()
CHANGELOG = (ROOT / "CHANGELOG.md").read_text()
DOCUMENTS = sorted(
    path.relative_to(ROOT).as_posix()
    for path in (*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), ROOT / "tests" / "README.md")
)
FILE = re.compile(r"`((?:\w+/)+\w+\.py)`")
LINK = re.compile(r"\]\(([^)#:]+)(?:#[^)]*)?\)")
PLACE = re.compile(r"`((?:sandbox|runner|tests|benchmarks|docs)/[\w./-]*)`")
VERSION = re.compile(r"^## (\d+\.\d+\.\d+), (\d{4}-\d{2}-\d{2})$", re.MULTILINE)


def rows(text: str) -> list[list[str]]:
    """The cells of every row of every table, headings included."""
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def attacks_named() -> set[str]:
    return {path for path in FILE.findall(SECURITY) if not path.startswith("tests/")}


def test_every_attack_that_the_threat_table_names_is_a_test() -> None:
    assert [path for path in sorted(attacks_named()) if not (ATTACKS / path).is_file()] == []


def test_the_threat_table_names_attacks_of_every_category() -> None:
    categories = {path.name for path in ATTACKS.iterdir() if list(path.glob("*.py"))}
    assert {path.partition("/")[0] for path in attacks_named()} == categories


def test_every_row_of_the_threat_table_has_a_layer_a_second_one_and_a_test() -> None:
    table = [row for row in rows(SECURITY) if len(row) == 5][1:]
    assert len(table) >= 20
    for attack, layer, second, tests, _gap in table:
        assert layer, attack
        assert second, attack
        assert FILE.findall(tests), attack


def test_every_layer_of_the_default_tier_is_explained() -> None:
    explained = {name for row in rows(SECURITY) for name in re.findall(r"`(\w+)`", row[0])}
    assert set(LAYERS_OF["namespaces"]) <= explained


@pytest.mark.parametrize("name", DOCUMENTS)
def test_links_and_files_of_a_document_lead_somewhere(name: str) -> None:
    text = (ROOT / name).read_text()
    below = (ROOT / name).parent
    missing = [link for link in LINK.findall(text) if not (below / link).exists()]
    missing += [path for path in PLACE.findall(text) if not (ROOT / path).exists()]
    assert missing == []


def test_the_states_of_a_worker_are_drawn_as_they_are() -> None:
    drawn = ARCHITECTURE.partition("<!-- worker states -->\n")[2].partition("<!-- end -->")[0]
    assert drawn == f"```mermaid\n{worker_state.diagram()}\n```\n"


def test_every_message_is_in_the_table_of_channels() -> None:
    table = ARCHITECTURE.partition("## Channels")[2].partition("## ")[0]
    told = set(re.findall(r"`(\w+)`", table))
    assert {spec.cls.__name__ for spec in SPECS.values()} - told == set()


def test_every_folder_of_the_engine_is_explained() -> None:
    told = {path.rstrip("/") for path in PLACE.findall(ARCHITECTURE.partition("## Folders")[2])}
    folders = {
        path.parent.relative_to(ROOT).as_posix() for path in (ROOT / "sandbox").rglob("*.py")
    }
    assert folders - told - {"sandbox/guest"} == set()


def test_each_folder_has_its_tests_named_and_each_folder_of_tests_is_explained() -> None:
    told = (ROOT / "CONTRIBUTING.md").read_text()
    folders = [
        f"{path.parent.name}/{path.name}"
        for top in ("sandbox", "runner")
        for path in (ROOT / top).iterdir()
        if path.is_dir()
    ]
    kept = [name for name in folders if name not in NO_TESTS_OF_THEIR_OWN and "__" not in name]
    assert [name for name in kept if f"`{name}/" not in told] == []
    explained = (ROOT / "tests" / "README.md").read_text()
    parts = [
        path.name for path in (ROOT / "tests").iterdir() if path.is_dir() and "__" not in path.name
    ]
    assert [name for name in parts if f"| `tests/{name}/` |" not in explained] == []


def test_the_newest_version_of_the_changelog_is_the_packages() -> None:
    assert CHANGELOG.partition("## ")[2].startswith("Unreleased\n")
    versions = VERSION.findall(CHANGELOG)
    assert versions[0][0] == version("cellblock")
    assert len(versions) == CHANGELOG.count("\n## ") - 1, "a version has no date"
    dates = [date for _, date in versions]
    assert dates == sorted(dates, reverse=True)


def test_the_documents_name_every_exit_status_and_every_command() -> None:
    text = "\n".join([README, *(path.read_text() for path in sorted(ROOT.glob("docs/*.md")))])
    told = {row[0] for row in rows(text) if row[0].isdigit()}
    assert {str(status) for status in EXIT_STATUS.values()} <= told
    for command in commands.commands:
        assert f"cellblock {command}" in text, command


def test_readme_leads_to_every_document() -> None:
    assert [name for name in DOCUMENTS if f"({name})" not in README] == ["README.md"]


def test_every_extra_is_in_the_table_of_what_to_install() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    machines = (ROOT / "docs" / "machines.md").read_text()
    table = machines.partition("| extra |")[2].partition("\n\n")[0]
    assert set(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)) == set(extras)
