"""Pictures of every view of the page, light, dark and 390 px wide: `make page-shots`."""

import sys
from pathlib import Path

from browsing import Visitor, browser_at_work
from page_talks import ASK, HOSTILE, MADE, PLOT, REFUSED, TABLE, PageModel
from playwright.sync_api import expect
from serving import directory, serving

WIDE, NARROW = {"width": 1280, "height": 860}, {"width": 390, "height": 844}
LOOKS = (("light", WIDE), ("dark", WIDE), ("light", NARROW), ("dark", NARROW))
ERROR = "import numpy as np\nnp.ones(3) / 0\nundefined_name"


def shoot(visitor: Visitor, folder: Path, mark: str, *, is_narrow: bool, language: str) -> None:
    """Walk through the views and take a picture of each."""
    page = visitor.page

    def take(name: str) -> None:
        page.wait_for_timeout(250)
        page.screenshot(path=folder / f"{name}-{mark}.png")

    page.goto(visitor.server.origin)
    page.locator(".door form").wait_for()
    take("sign-in")
    visitor.sign_in()
    if language == "zh":
        page.locator(".settings select").first.select_option("zh")
    take("welcome")
    turns = page.locator("article.turn")

    def asked(question: str) -> None:
        before = turns.count()
        page.locator("textarea.ask").fill(question)
        page.locator(".main-button").click()
        expect(turns.nth(before)).to_have_attribute("aria-busy", "false")

    for name, question in (
        ("answer", ASK), ("plot", PLOT), ("files", MADE), ("table", TABLE),
        ("refusal", REFUSED), ("hostile", HOSTILE),
    ):  # fmt: skip
        asked(question)
        take(name)
    if is_narrow:
        page.locator(".top button.narrow").last.click()
        take("session")
        page.locator(".top button.narrow").first.click()
        take("conversations")
        page.locator(".top button.narrow").first.click()
    page.locator(".figcaption button, figcaption button").first.click()
    page.locator("dialog .grid").wait_for()
    take("rows")
    page.locator("dialog button").first.click()
    page.locator(".composer select").last.select_option("2")
    page.locator("textarea.ask").fill(ASK)
    page.locator(".main-button").click()
    expect(page.locator(".column")).to_have_count(2)
    expect(page.locator(".column .main-button").last).to_be_enabled()
    take("best-of")
    page.locator(".column .main-button").first.click()
    page.locator(".view").last.click()
    for code in ("x = [1, 2, 3]\nsum(x)", ERROR):
        page.locator("textarea.editor").fill(code)
        page.locator(".composer .main-button").click()
        expect(page.locator("section.run").last).to_have_attribute("aria-busy", "false")
    take("scratch")


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with browser_at_work() as browser, serving(directory(PageModel())) as server:
        for look, size in LOOKS:
            is_narrow = size is NARROW
            mark = f"{look}-{size['width']}"
            with Visitor(browser, server, viewport=size, color_scheme=look) as visitor:
                shoot(visitor, folder, mark, is_narrow=is_narrow, language="en")
        with Visitor(browser, server, viewport=WIDE) as visitor:
            shoot(visitor, folder, "chinese", is_narrow=False, language="zh")
    print(f"{len(list(folder.glob('*.png')))} pictures in {folder}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
