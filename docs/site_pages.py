"""Takes the documents at the root of the tree into the site, and mends links between the two."""

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File

ROOT = Path(__file__).parents[1]
PAGES = {
    "README.md": "index.md",
    "SECURITY.md": "security.md",
    "ARCHITECTURE.md": "architecture.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "tests/README.md": "tests.md",
}
"""Where they are in the tree, and in the site."""
LINK = re.compile(r"(\]\()([^)#:]+)(#[^)]*)?\)")


def on_config(config: Any) -> Any:
    """Name pages at the end of the menu that it does not name itself."""
    named = str(config["nav"])
    others = [one.name for one in sorted((ROOT / "docs").glob("*.md")) if one.name not in named]
    if others:
        config["nav"].append({"More": others})
    return config


def on_files(files: Any, config: Any) -> Any:
    """Add the pages."""
    for source, page in PAGES.items():
        text = (ROOT / source).read_text()
        content = with_links(text, source)
        files.append(File.generated(config, page, content=content))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Mend the links of a page that lies in docs/."""
    path = page.file.src_uri
    return markdown if path in PAGES.values() else with_links(markdown, f"docs/{path}")


def with_links(text: str, source: str) -> str:
    """`text` of the file `source` with its links as they are in the site."""

    def mended(link: re.Match[str]) -> str:
        start, target, place = link[1], link[2], link[3] or ""
        path = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
        return f"{start}{PAGES.get(path, path.removeprefix('docs/'))}{place})"

    return LINK.sub(mended, text)
