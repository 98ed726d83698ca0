"""A person at a browser: Debian's Chromium, driven by Playwright."""

import contextlib
import shutil

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
WAIT_MS = 40_000
expect.set_options(timeout=WAIT_MS)


def chromium() -> str:
    """The path of a browser; a test that has none is skipped."""
    found = shutil.which("chromium") or shutil.which("google-chrome")
    if found is None:
        pytest.skip("needs Chromium")
    return found


@contextlib.contextmanager
def browser_at_work():
    path = chromium()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(FLAGS))
        yield browser
        browser.close()


class Visitor:
    """One browser window at the page of `server`, and what went wrong in it."""

    def __init__(self, browser: Browser, server, **options) -> None:
        self._browser = browser
        self.server = server
        self._options = {"viewport": {"width": 1280, "height": 860}, "locale": "en", **options}
        self.problems: list[str] = []
        self.context: BrowserContext
        self.page: Page

    def __enter__(self) -> "Visitor":
        self.context = self._browser.new_context(**self._options)
        self.context.set_default_timeout(WAIT_MS)
        self.page = self.context.new_page()
        self.page.on("pageerror", lambda error: self.problems.append(str(error)))
        self.page.on("console", self._note)
        return self

    def __exit__(self, *_error: object) -> None:
        self.context.close()

    def _note(self, message) -> None:
        # A 404 is how the server says that it offers no such thing: the page goes on without.
        if message.type == "error" and "Failed to load resource" not in message.text:
            self.problems.append(message.text)

    def link(self) -> str:
        """A new link of the kind that the terminal shows."""
        return f"{self.server.origin}/#token={self.server.services.page.make_token()}"

    def sign_in(self) -> None:
        self.page.goto(self.link())
        self.page.locator(".frame").wait_for()

    def ask(self, question: str) -> None:
        self.page.get_by_label("Your question").fill(question)
        self.page.get_by_role("button", name="Send").click()

    def answered(self, question: str, words: str) -> None:
        """Ask, and wait until the answer has `words` and is over."""
        turns = self.page.locator("article.turn")
        before = turns.count()
        self.ask(question)
        expect(turns).to_have_count(before + 1)
        turn = turns.nth(before)
        expect(turn).to_have_attribute("aria-busy", "false")
        expect(turn).to_contain_text(words)

    def scratch(self) -> None:
        self.page.get_by_role("button", name="Scratch pad").click()

    def run(self, code: str) -> None:
        """Run `code` in the scratch pad and wait for its end."""
        cells = self.page.locator("section.run")
        before = cells.count()
        self.page.get_by_label("Python code").fill(code)
        self.page.get_by_role("button", name="Run", exact=True).click()
        expect(cells).to_have_count(before + 1)
        expect(cells.nth(before)).to_have_attribute("aria-busy", "false")
