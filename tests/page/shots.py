"""Pictures of every view of the page, light, dark and 390 px wide: `make page-shots`."""

import json
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from browsing import Visitor, browser_at_work
from page_talks import ASK, HOSTILE, MADE, PLOT, REFUSED, TABLE, PageModel
from playwright.sync_api import expect
from serving import config, directory, serving

from runner.evals import evaluate
from runner.evals.report.page import write_page

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
    expect(page.locator("dialog .grid")).to_contain_text("361")
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


def write_report(folder: Path) -> Path:
    """A report of a few tasks, with another run to compare with."""
    test = "start = 1\nassert inc(start) == 2, 'not one more'\nassert inc(5) == 6"
    codes = ("def inc(x):\n    return x + 1", "def inc(x):\n    return x", "import os; os._exit(0)")
    data, before, page = (folder / name for name in ("tasks.jsonl", "before.jsonl", "page.html"))
    names = [f"task/{number}" for number in range(8)]
    tasks = [{"task_id": name, "prompt": "Add one.", "test": test} for name in names]
    data.write_text("".join(json.dumps(task) + "\n" for task in tasks))
    samples = [
        {"task_id": name, "solution": codes[number % 3]} for number, name in enumerate(names)
    ]
    # In a thread of its own: the browser's driver has a loop in this one.
    with ThreadPoolExecutor(1) as pool:
        report = pool.submit(evaluate, "custom", samples, data=data).result()
    lines = [{**one, "outcome": "passed"} for one in report.records()][1:]
    before.write_text("".join(json.dumps(one) + "\n" for one in lines))
    write_page(report, page, against=before)
    return page


def shoot_report(browser, page: Path, folder: Path) -> None:
    """Pictures of the evaluation's report."""
    for look, size in LOOKS:
        window = browser.new_page(viewport=size, color_scheme=look, locale="en")
        window.goto(page.as_uri())
        window.get_by_role("button", name="Open task/1").click()
        window.screenshot(path=folder / f"report-{look}-{size['width']}.png", full_page=True)
        window.close()


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as place:
        report = write_report(Path(place))
        with browser_at_work() as browser:
            shoot_report(browser, report, folder)
    # A policy that refuses something, for the picture of a refusal.
    settings = config(policy={"imports": "data"})
    with browser_at_work() as browser, serving(directory(PageModel()), settings) as server:
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
