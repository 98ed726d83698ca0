"""The HTML report in a real browser: what is filtered, opened, compared, and never executed."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from runner.evals import Report, evaluate
from runner.evals.report.page import write_page

EVIL = (
    "</script><script>document.title = 'owned'</script><img src=x onerror=document.title='owned'>"
)


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Report:
    data: Path = tmp_path_factory.mktemp("page") / "tasks.jsonl"
    data.write_text(json.dumps({"task_id": EVIL, "test": "assert inc(1) == 2"}) + "\n")
    codes = ("def inc(x): return x + 1", f"raise ValueError({EVIL!r})", "import os; os._exit(0)")
    return evaluate("custom", [{"task_id": EVIL, "solution": code} for code in codes], data=data)


def test_the_page_holds_everything_as_data(report: Report, tmp_path: Path) -> None:
    write_page(report, tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text()
    assert EVIL not in text
    assert text.count("<script") == 1
    found = re.search(r"const data = (\{.*\});\n", text)
    assert found is not None
    assert not re.search(r"(src|href)=|https?:", text.replace(found[1], ""))
    data = json.loads(found[1])
    assert [row["outcome"] for row in data["rows"]] == ["passed", "failed", "crashed"]
    assert data["rows"][1]["code"] == f"raise ValueError({EVIL!r})"


def test_a_browser_shows_filters_opens_and_compares(report: Report, tmp_path: Path) -> None:
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("needs Chromium")
    before = tmp_path / "before.jsonl"
    old = [{**record, "outcome": "passed"} for record in report.records()]
    before.write_text("".join(json.dumps(record) + "\n" for record in old))
    page = tmp_path / "page.html"
    write_page(report, page, against=before)
    steps = (
        "<script>window.addEventListener('load', () => {"
        "const seen = [document.querySelectorAll('tr.row').length];"
        "const pick = document.getElementById('outcome');"
        "pick.value = 'crashed'; pick.dispatchEvent(new Event('input'));"
        "seen.push(document.querySelectorAll('tr.row').length);"
        "pick.value = ''; const box = document.getElementById('changed');"
        "box.checked = true; box.dispatchEvent(new Event('input'));"
        "seen.push(document.querySelectorAll('tr.row').length);"
        "document.querySelector('tr.row').click();"
        "seen.push(document.querySelectorAll('tr.details pre').length);"
        "seen.push(document.querySelectorAll('img').length);"
        "const mark = document.createElement('output');"
        "mark.textContent = 'seen ' + seen.join(' ') + ' ' + document.title;"
        "document.body.append(mark);});</script></body>"
    )
    page.write_text(page.read_text().replace("</body>", steps))
    shown = subprocess.run(
        [
            browser,
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--dump-dom",
            f"--user-data-dir={tmp_path / 'profile'}",
            page.as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    ).stdout
    found = re.search(r"<output>seen ([^<]*)</output>", shown)
    assert found is not None
    assert found[1] == "3 1 2 3 0 custom: 3 samples of 1 tasks"
