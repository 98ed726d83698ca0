"""One server for the tests of a module."""

import pytest
from serving import TalkModel, directory, serving
from talking import TALKS


@pytest.fixture(scope="module")
def server():
    with serving(directory(TalkModel(TALKS))) as running:
        yield running


@pytest.fixture
def nothing_is_left(server):
    """After the test no stream is open and no snippet of a stream runs."""
    yield
    server.wait_until(lambda: not server.services.streams.open)
