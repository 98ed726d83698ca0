"""What the documents point at exists, and the threat table leaves no category out."""

import re
from pathlib import Path

import pytest

from runner.cli import commands
from sandbox.outcome import EXIT_STATUS
from sandbox.policy.lowering import LAYERS_OF

ROOT = Path(__file__).parents[2]
ATTACKS = ROOT / "tests" / "jail" / "attacks"
SECURITY = (ROOT / "SECURITY.md").read_text()
README = (ROOT / "README.md").read_text()
FILE = re.compile(r"`((?:\w+/)+\w+\.py)`")
LINK = re.compile(r"\]\(([^)#:]+)\)")


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


@pytest.mark.parametrize("name", ["README.md", "SECURITY.md", "CHANGELOG.md"])
def test_links_and_files_of_a_document_lead_somewhere(name: str) -> None:
    text = (ROOT / name).read_text()
    inside = [path for path in FILE.findall(text) if path.startswith("tests/")]
    missing = [path for path in [*LINK.findall(text), *inside] if not (ROOT / path).exists()]
    assert missing == []


def test_readme_names_every_exit_status_and_every_command() -> None:
    told = {row[0] for row in rows(README) if row[0].isdigit()}
    assert {str(status) for status in EXIT_STATUS.values()} <= told
    for command in commands.commands:
        assert f"cellblock {command}" in README, command
