"""The built page: as its source says, small, quick to show, smooth over long output."""

import fcntl
import gzip
import json
import shutil
import subprocess
from pathlib import Path

import pytest
from browsing import Visitor
from page_talks import ASK, HOSTILE, LONG, MADE, PLOT, TABLE
from playwright.sync_api import expect
from shots import write_report

from runner.page.assets import assets

pytestmark = pytest.mark.slow
PAGE = Path(__file__).parents[2] / "runner" / "page"
REPORT = PAGE.parent / "evals" / "report" / "page.html"
MOST_BYTES = 300_000
PAINT_MS = 300
FRAME_MS = 50
ROWS_IN_SIGHT = 120
LOADS = 5


@pytest.fixture(scope="module")
def modules():
    """The folder of the page's npm packages, from its lock file."""
    if shutil.which("npm") is None:
        pytest.skip("needs npm")
    with open(PAGE / "package-lock.json") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # Two test processes may want it at the same time.
        if not (PAGE / "node_modules" / "axe-core").is_dir():
            subprocess.run(["npm", "ci", "--no-audit", "--no-fund"], cwd=PAGE, check=True)
    return PAGE / "node_modules"


def test_the_files_in_the_tree_are_what_the_source_builds(modules, tmp_path):
    copy = tmp_path / "runner" / "page"
    shutil.copytree(PAGE, copy, ignore=shutil.ignore_patterns("node_modules", "built"))
    (tmp_path / "runner" / "evals" / "report").mkdir(parents=True)
    (copy / "node_modules").symlink_to(modules)
    subprocess.run(["npm", "run", "--silent", "check"], cwd=copy, check=True)
    subprocess.run(["npm", "run", "--silent", "build"], cwd=copy, check=True)
    for file in (PAGE / "built").iterdir():
        assert file.read_bytes() == (copy / "built" / file.name).read_bytes(), file.name
    built = copy.parent / "evals" / "report" / "page.html"
    assert REPORT.read_bytes() == built.read_bytes()


def test_the_whole_page_is_small_and_names_its_licences():
    sizes = {name: len(asset.compressed) for name, asset in assets().items()}
    assert sum(sizes.values()) < MOST_BYTES
    assert b"preact" in assets()["licences.txt"].content
    for asset in assets().values():
        assert gzip.decompress(asset.compressed) == asset.content


def test_the_lock_file_names_no_machine():
    lock = json.loads((PAGE / "package-lock.json").read_text())
    assert all("resolved" not in one for one in lock["packages"].values())


def test_the_first_paint_comes_at_once_and_nothing_from_elsewhere(browser, server):
    with Visitor(browser, server) as visitor:
        visitor.sign_in()
        asked: list[str] = []
        visitor.page.on("request", lambda request: asked.append(request.url))
        paints = []
        for _ in range(LOADS):
            visitor.page.reload()
            visitor.page.locator(".frame").wait_for()
            paints.append(
                visitor.page.evaluate(
                    "performance.getEntriesByName('first-contentful-paint')[0].startTime"
                )
            )
        assert min(paints) < PAINT_MS, paints
        own = (f"{server.origin}/", "data:")
        assert [url for url in asked if not url.startswith(own)] == []


SCROLL = """async (element) => {
  // Frames while nothing moves in between tell how busy the machine is with others.
  const frames = { still: [], scrolled: [] };
  let last = performance.now();
  for (let step = 0; step < 120; step += 1) {
    const isScroll = step % 2 === 1;
    if (isScroll) element.scrollTop = element.scrollHeight * (step % 60) / 60;
    await new Promise(requestAnimationFrame);
    frames[isScroll ? "scrolled" : "still"].push(performance.now() - last);
    last = performance.now();
  }
  const middle = (times) => times.sort((a, b) => a - b)[30];
  return middle(frames.scrolled) - Math.max(0, middle(frames.still) - 17);
}"""


def test_two_thousand_lines_of_output_stay_smooth(visitor):
    visitor.answered(LONG, "Printed.")
    output = visitor.page.locator(".run .output")
    expect(output).to_contain_text("line 1999")
    assert min(output.evaluate(SCROLL) for _ in range(LOADS)) < FRAME_MS


def test_a_table_of_100_000_rows_shows_those_in_sight_and_asks_for_them(visitor):
    visitor.answered(TABLE, "100 000 rows.")
    page = visitor.page
    page.get_by_role("button", name="Show all rows").first.click()
    grid = page.locator("dialog .grid")
    expect(grid.get_by_role("cell", name="361", exact=True)).to_be_visible()
    assert min(grid.evaluate(SCROLL) for _ in range(LOADS)) < FRAME_MS
    grid.evaluate("element => { element.scrollTop = element.scrollHeight; }")
    expect(grid.get_by_role("cell", name=str(99_999**2))).to_be_visible()
    assert grid.locator(".body .line").count() < ROWS_IN_SIGHT


@pytest.mark.parametrize("look", ["light", "dark"])
def test_axe_finds_nothing_serious_on_any_view(browser, server, modules, look):
    script = (modules / "axe-core" / "axe.min.js").read_text()
    found: list[str] = []

    def check(view: str) -> None:
        visitor.page.evaluate(script)
        result = visitor.page.evaluate("axe.run(document, {resultTypes: ['violations']})")
        for one in result["violations"]:
            if one["impact"] in ("serious", "critical"):
                found.append(f"{view}: {one['id']}: {one['nodes'][0]['html'][:200]}")

    with Visitor(browser, server, color_scheme=look) as visitor:
        page = visitor.page
        page.goto(server.origin)
        page.locator(".door form").wait_for()
        check("sign-in")
        visitor.sign_in()
        check("welcome")
        for question, words in (
            (ASK, "44"), (PLOT, "Here"), (MADE, "Here"), (TABLE, "rows"), (HOSTILE, "img"),
        ):  # fmt: skip
            visitor.answered(question, words)
        for section in page.locator(".panel details:not([open]) summary").all():
            section.click()
        check("chat")
        page.get_by_role("button", name="Show all rows").first.click()
        expect(page.locator("dialog .grid [role=cell]").first).to_be_visible()
        check("rows")
        page.get_by_role("button", name="Close").last.click()
        page.get_by_label("Best of").select_option("2")
        visitor.ask(ASK)
        expect(page.get_by_role("button", name="Choose").last).to_be_enabled()
        check("best of")
        visitor.scratch()
        visitor.run("print('a')\n1 / 0")
        check("scratch pad")
        page.set_viewport_size({"width": 390, "height": 844})
        check("narrow")
        page.get_by_role("button", name="Show the session").click()
        check("narrow session")
    assert found == []


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    return write_report(tmp_path_factory.mktemp("report"))


@pytest.mark.parametrize("look", ["light", "dark"])
def test_axe_finds_nothing_serious_in_the_report(report, browser, modules, look):
    script = (modules / "axe-core" / "axe.min.js").read_text()
    page = browser.new_page(color_scheme=look, locale="en")
    page.goto(report.as_uri())
    page.get_by_role("button", name="Open task/1").click()
    page.evaluate(script)
    result = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    page.close()
    serious = [one for one in result["violations"] if one["impact"] in ("serious", "critical")]
    assert [f"{one['id']}: {one['nodes'][0]['html'][:200]}" for one in serious] == []


def test_nothing_is_wider_than_a_narrow_screen_and_the_keyboard_reaches_everything(browser, server):
    with Visitor(browser, server, viewport={"width": 390, "height": 844}) as visitor:
        visitor.sign_in()
        visitor.answered(TABLE, "rows")
        page = visitor.page
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        page.locator("body").press("Tab")
        reached = set()
        for _ in range(40):
            reached.add(page.evaluate("document.activeElement.textContent.trim().slice(0, 30)"))
            page.keyboard.press("Tab")
        assert {"Chat", "Scratch pad", "Session", "Attach files"} <= reached
        assert any(name.startswith("Skip") for name in reached)


def test_nothing_moves_where_less_motion_is_wanted(browser, server):
    with Visitor(browser, server, reduced_motion="reduce") as visitor:
        visitor.sign_in()
        visitor.answered(ASK, "44")
        assert visitor.page.evaluate("document.getAnimations().length") == 0
