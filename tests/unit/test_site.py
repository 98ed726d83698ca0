"""The documents as a site: every link leads somewhere, and nothing is loaded from elsewhere."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LOADED = re.compile(
    r"""<(?:script|img|iframe)[^>]*\ssrc="?([^"\s>]+)|<link[^>]*\shref="?([^"\s>]+)"""
)
pytestmark = pytest.mark.slow


def build(settings: Path, site: Path) -> subprocess.CompletedProcess[str]:
    # Not --quiet: what is not said is not counted either.
    command = ["-m", "mkdocs", "build", "--strict"]
    return subprocess.run(
        [sys.executable, *command, "--config-file", str(settings), "--site-dir", str(site)],
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_site_is_built_without_a_broken_link_and_loads_nothing_from_elsewhere(
    tmp_path: Path,
) -> None:
    built = build(ROOT / ".mkdocs.yml", tmp_path)
    assert built.returncode == 0, built.stderr
    pages = sorted(tmp_path.glob("*.html"))
    documents = {path.stem for path in (ROOT / "docs").glob("*.md")}
    assert documents | {"index", "security", "changelog"} <= {path.stem for path in pages}
    for page in pages:
        loaded = [one or other for one, other in LOADED.findall(page.read_text())]
        assert loaded
        # Pages say where they are themselves, too; without a site's address they do not.
        assert [one for one in loaded if re.match(r"(https?:)?//", one)] == [], page.name


def test_a_link_that_leads_nowhere_ends_the_build(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "index.md").write_text("See [this](nothing.md) and [that](#nowhere).\n")
    settings = (ROOT / ".mkdocs.yml").read_text().partition("nav:\n  - Start")[0]
    settings = re.sub(r"^hooks:.*$", "", settings, flags=re.MULTILINE)
    (tmp_path / "mkdocs.yml").write_text(settings)
    built = build(tmp_path / "mkdocs.yml", tmp_path / "site")
    assert built.returncode != 0
    assert "nothing.md" in built.stderr
    assert "nowhere" in built.stderr
