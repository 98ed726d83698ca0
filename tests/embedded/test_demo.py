"""The part of the demo with a model, where there is none and none can be had."""

import io
import os

from rich.console import Console

from runner.demo import QUESTION, show_model


def test_a_fetch_that_fails_leaves_the_model_out_with_a_clear_word(tmp_path, monkeypatch, capfd):
    for name in ("CELLBLOCK_CONFIG", "CELLBLOCK_MODEL_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    said = io.StringIO()
    show_model(Console(file=said, width=200))
    assert said.getvalue().splitlines()[1:] == [
        "$ cellblock model install",
        "So the model is left out here; all above needs none. README.md tells how to name one.",
        "Next: README.md, and .venv/bin/cellblock with chat, repl, doctor or --help",
    ]
    told = capfd.readouterr().err
    assert "Asking http://127.0.0.1:9\nNot there: ConnectError" in told
    assert "qwen2.5-coder-1.5b-instruct could not be fetched. " in told


def test_an_endpoint_that_the_user_has_named_answers_in_the_demo(monkeypatch, capfd):
    monkeypatch.setenv("CELLBLOCK_MODEL_URL", "http://127.0.0.1:9/v1")
    said = io.StringIO()
    show_model(Console(file=said, width=200))
    assert said.getvalue().splitlines()[1:] == [
        f"$ cellblock chat '{QUESTION}'",
        "So much for the model; all above needs none.",
        "Next: README.md, and .venv/bin/cellblock with chat, repl, doctor or --help",
    ]
    assert "The model's endpoint cannot be reached" in capfd.readouterr().err
