"""One browser and one server for the tests of a module; each test has a context of its own."""

import pytest
from browsing import Visitor, browser_at_work
from page_talks import PageModel
from serving import directory, serving


@pytest.fixture(scope="module")
def browser():
    with browser_at_work() as found:
        yield found


@pytest.fixture(scope="module")
def server():
    model = PageModel()
    with serving(directory(model)) as running:
        running.model = model
        yield running


@pytest.fixture
def visitor(browser, server):
    """A signed-in browser window; the test fails where the page logged an error."""
    with Visitor(browser, server) as found:
        found.sign_in()
        yield found
        assert found.problems == []
