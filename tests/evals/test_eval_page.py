"""The HTML report in a real browser: sorted, filtered, opened, compared, and never executed."""

import json
import re
from pathlib import Path

import pytest
from browsing import WAIT_MS, browser_at_work
from playwright.sync_api import Page, expect

from runner.evals import Report, evaluate
from runner.evals.report.page import write_page

EVIL = (
    "</script><script>document.title = 'owned'</script><img src=x onerror=document.title='owned'>"
)
TEST = "start = 1\nassert inc(start) == 2, 'not one more'\nassert inc(5) == 6"
CODES = ("def inc(x): return x + 1", f"raise ValueError({EVIL!r})", "import os; os._exit(0)")
GONE = {"task_id": "t/11", "outcome": "failed", "solution": "pass"}
TITLE = "custom: 5 samples of 3 tasks"


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Report:
    data: Path = tmp_path_factory.mktemp("page") / "tasks.jsonl"
    tasks = [
        {"task_id": EVIL, "prompt": "Add one.", "test": TEST},
        {"task_id": "t/10", "prompt": "Add one.", "test": TEST},
        {"task_id": "t/9", "prompt": "Add one.", "test": TEST},
    ]
    data.write_text("".join(json.dumps(task) + "\n" for task in tasks))
    samples = [{"task_id": EVIL, "solution": code} for code in CODES]
    samples += [
        {"task_id": "t/10", "solution": CODES[0]},
        {"task_id": "t/9", "solution": "def inc(x):\n    return x"},
    ]
    return evaluate("custom", samples, data=data)


@pytest.fixture(scope="module")
def before(report: Report, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another run, in another order: `t/9` passed there, and nothing of the first task did."""
    lines = [{**record, "outcome": "failed"} for record in report.records()]
    lines[4] |= {"outcome": "passed", "solution": "def inc(x):\n    return x - -1"}
    path: Path = tmp_path_factory.mktemp("before") / "before.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in [lines[4], *lines[:3], GONE]))
    return path


@pytest.fixture(scope="module")
def shown(report: Report, before: Path, tmp_path_factory: pytest.TempPathFactory):
    """The page in a browser, open to nothing but its own file."""
    path: Path = tmp_path_factory.mktemp("shown") / "page.html"
    write_page(report, path, against=before)
    with browser_at_work() as browser:
        page = browser.new_page(locale="en")
        page.set_default_timeout(WAIT_MS)
        problems: list[str] = []
        asked: list[str] = []
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("console", lambda message: problems.append(message.text))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(path.as_uri())
        yield page
        assert problems == []
        assert set(asked) == {path.as_uri()}
        assert page.title() == TITLE


def reset(page: Page) -> None:
    page.reload()
    expect(page.locator("tr.line")).to_have_count(3)


def names(page: Page) -> list[str]:
    return page.locator("tr.line .name").all_inner_texts()


def test_the_page_holds_everything_as_data(report: Report, tmp_path: Path) -> None:
    write_page(report, tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text()
    assert EVIL not in text
    assert text.count("<script") == 2
    found = re.search(r'<script type="application/json" id="data">(.*)</script>\n<script>', text)
    assert found is not None
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text)
    assert policy is not None
    assert policy[1].startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe" not in policy[1]
    data = json.loads(found[1])
    outcomes = ["passed", "failed", "crashed", "passed", "failed"]
    assert [row["outcome"] for row in data["rows"]] == outcomes
    assert data["rows"][1]["code"] == f"raise ValueError({EVIL!r})"
    assert data["tasks"]["t/9"] == {"question": "Add one.", "test": TEST}
    assert data["compared"] is False


def test_samples_are_compared_with_those_of_the_same_task(
    report: Report, before: Path, tmp_path: Path
) -> None:
    write_page(report, tmp_path / "page.html", against=before)
    text = (tmp_path / "page.html").read_text()
    found = re.search(r'id="data">(.*)</script>\n<script>', text)
    assert found is not None
    data = json.loads(found[1])
    sides = [row["before"] and row["before"]["outcome"] for row in data["rows"]]
    assert sides == ["failed", "failed", "failed", None, "passed"]
    assert data["before"] == {"pass_at_1": pytest.approx(1 / 3), "gone": 1}


@pytest.mark.slow
def test_the_table_sorts_by_every_column_and_filters(shown: Page) -> None:
    reset(shown)
    assert shown.title() == TITLE
    assert names(shown)[1:] == ["t/9", "t/10"]
    shown.get_by_role("button", name="Task", exact=True).click()
    assert names(shown)[:2] == ["t/10", "t/9"]
    shown.get_by_role("button", name="Passed", exact=True).click()
    assert names(shown)[0] == "t/10"
    shown.get_by_label("Search").fill("x - -1")
    expect(shown.locator("tr.line")).to_have_count(0)
    shown.get_by_label("Search").fill("not one more")
    expect(shown.locator("tr.line")).to_have_count(1)
    shown.get_by_label("Search").fill("")
    shown.get_by_label("Outcome").select_option("crashed")
    expect(shown.locator("tr.line")).to_have_count(1)
    shown.get_by_role("button", name="Samples").click()
    assert names(shown) == [f"{EVIL} #2"]


@pytest.mark.slow
def test_a_failing_test_is_shown_with_the_code_and_its_output(shown: Page) -> None:
    reset(shown)
    shown.get_by_role("button", name="Open t/9").click()
    now = shown.get_by_role("region", name="now")
    expect(now.get_by_role("heading", name="line 2 failed")).to_be_visible()
    expect(now.locator("mark")).to_have_text("assert inc(start) == 2, 'not one more'")
    expect(now.get_by_label("Test")).to_have_text(TEST)
    expect(now.locator("pre.code").first).to_have_text("def inc(x):\n    return x")
    expect(now.locator(".output")).to_contain_text("AssertionError: not one more")
    past = shown.get_by_role("region", name="before")
    expect(past.locator("pre.code").first).to_contain_text("return x - -1")


@pytest.mark.slow
def test_two_runs_are_compared(shown: Page) -> None:
    reset(shown)
    cells = shown.locator(".comparison td:not(:empty)")
    # Before passed, not passed, not there; each now passed, not passed.
    assert cells.all_inner_texts() == ["0", "1", "1", "2", "1", "0"]
    expect(shown.locator(".delta")).to_have_text("+0.1111")
    expect(shown.get_by_text("1 samples of the other run have none here")).to_be_visible()
    rows = shown.locator("tr.line")
    expect(rows.filter(has_text="t/10").locator(".new")).to_have_text("new")
    # The outcome is said once.
    expect(rows.filter(has_text="t/9").locator("td").nth(1)).to_have_text("failed not one more")
    shown.get_by_label("Changes").select_option("changed")
    assert "t/10" not in names(shown)
    shown.get_by_label("Changes").select_option("broken")
    assert names(shown) == ["t/9"]
    shown.get_by_role("button", name="Samples").click()
    shown.get_by_label("Changes").select_option("fixed")
    assert names(shown) == [f"{EVIL} #0"]


@pytest.mark.slow
def test_what_a_candidate_wrote_is_never_executed(shown: Page) -> None:
    reset(shown)
    shown.locator("button.name", has_text="</script>").click()
    expect(shown.locator(".sample pre.code").first).to_be_visible()
    assert shown.locator("img").count() == 0
    assert shown.title() == TITLE
