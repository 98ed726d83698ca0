"""The embedded model as the one that answers where none is configured."""

import logging
import os
import re
from pathlib import Path

import pytest
from serving import serving

from runner.config import ANY, ModelSettings
from runner.errors import ConfigError
from runner.extras import install_command
from runner.models import fallback
from runner.models.directory import Directory
from runner.models.embedded import PROFILE, Embedded, embedded
from runner.models.fallback import first_words, installed, or_embedded
from runner.models.weights import QWEN_CODER, Shelf

NAME = QWEN_CODER.name


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of its own; nothing is installed in it."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "cellblock" / "models"


@pytest.fixture
def weights(cache: Path) -> Path:
    """A file of the weights' name and size; all holes, for nobody loads it."""
    cache.mkdir(parents=True)
    with (cache / QWEN_CODER.file).open("wb") as file:
        os.truncate(file.fileno(), QWEN_CODER.size_bytes)
    return cache / QWEN_CODER.file


def test_it_answers_for_every_name_where_none_is_configured(weights):
    models = or_embedded({})
    assert models == dict.fromkeys((NAME, ANY), ModelSettings(kind="embedded"))
    directory = Directory(models)
    assert directory.names == (NAME,)
    assert directory.find("qwen3-max").model is directory.find(NAME).model
    assert isinstance(directory.find(NAME).model, Embedded)


def test_what_is_configured_comes_first(weights):
    configured = {ANY: ModelSettings(url="http://127.0.0.1:11434/v1")}
    assert or_embedded(configured) is configured


def test_without_weights_of_the_right_size_there_is_none(weights):
    os.truncate(weights, QWEN_CODER.size_bytes - 1)
    assert or_embedded({}) == {}
    with pytest.raises(ConfigError, match="Run: cellblock model install"):
        embedded("models.small.kind")


def test_without_what_runs_it_there_is_none(weights, monkeypatch):
    monkeypatch.setattr(fallback, "can_run", lambda: False)
    assert or_embedded({}) == {}
    with pytest.raises(ConfigError, match=re.escape(install_command("embedded"))):
        installed("models.small.kind")


def test_its_limits_are_told_once(weights):
    assert first_words().startswith(f"{NAME} answers. It is small")
    assert "About one answer in three is wrong" in fallback.LIMITS
    assert first_words() == ""
    assert Shelf().remove(QWEN_CODER) == QWEN_CODER.size_bytes


def test_the_config_may_say_how_it_is_asked(weights):
    models = {"small": ModelSettings(kind="embedded", temperature=0.7, rounds=2, system="Be kind.")}
    profile = Directory(models).find("small").profile
    changed = {"temperature": 0.7, "rounds": 2, "system": "Be kind."}
    assert profile == PROFILE.model_copy(update=changed)
    assert Directory({"small": ModelSettings(kind="embedded")}).find("small").profile == PROFILE


def test_results_are_cut_to_what_its_context_can_hold():
    assert PROFILE.shown(8000) == 2000
    assert PROFILE.shown(500) == 500


def test_a_server_whose_model_does_not_start_serves_all_the_same(caplog):
    models = Directory({"small": ModelSettings(kind="embedded")})
    with caplog.at_level(logging.ERROR), serving(models):
        pass
    assert [record.getMessage() for record in caplog.records] == [
        "a model does not start: models.small.kind: the embedded model is not installed."
        " Run: cellblock model install."
    ]
