"""The hint for a missing part names where this copy came from."""

import json

import pytest

from runner import extras
from runner.extras import install_command


class Distribution:
    def __init__(self, text: str | None) -> None:
        self._text = text

    def read_text(self, name: str) -> str | None:
        assert name == "direct_url.json"
        return self._text


@pytest.mark.parametrize(
    ("told", "command"),
    [
        (None, "pip install 'cellblock[data]'"),
        (
            {"url": "file:///src/my%20box", "dir_info": {"editable": True}},
            "pip install -e '/src/my box[data]'",
        ),
        ({"url": "file:///src/box", "dir_info": {}}, "pip install '/src/box[data]'"),
        (
            {"url": "https://example.org/box.whl", "archive_info": {}},
            "pip install 'cellblock[data] @ https://example.org/box.whl'",
        ),
    ],
)
def test_a_part_is_installed_from_where_the_rest_came(
    monkeypatch: pytest.MonkeyPatch, told: dict[str, object] | None, command: str
) -> None:
    text = None if told is None else json.dumps(told)
    monkeypatch.setattr(extras.metadata, "distribution", lambda _name: Distribution(text))
    assert install_command("data") == command


def test_a_copy_that_was_not_installed_names_the_distribution(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def missing(name: str) -> Distribution:
        raise extras.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(extras.metadata, "distribution", missing)
    assert install_command("server") == "pip install 'cellblock[server]'"
