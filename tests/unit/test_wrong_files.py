"""Every command that takes a file or a name says in one line what is wrong with it."""

import errno
import json
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from runner.cli import commands, engine_errors
from runner.commands.explaining import event_log

PLACES = {
    "missing": "missing",
    "a directory": "directory",
    "under a file": "broken.toml/file",
    "unreadable": "/proc/self/mem",
    "broken": "broken.toml",
    "not text": "bytes.toml",
}
COMMANDS = {
    "run": ["run", "FILE"],
    "run --policy": ["run", "-c", "1", "--policy", "FILE"],
    "run --stdin": ["run", "-c", "1", "--stdin", "FILE", "--policy", "missing.toml"],
    "run --trace": ["run", "-c", "1", "--trace", "FILE"],
    "check": ["check", "FILE", "--policy", "missing.toml"],
    "check --policy": ["check", "-", "--policy", "FILE"],
    "repl --policy": ["repl", "--policy", "FILE"],
    "mcp --policy": ["mcp", "--policy", "FILE"],
    "chat --config": ["chat", "hello", "--config", "FILE"],
    "serve --config": ["serve", "--config", "FILE"],
    "key --config": ["key", "--config", "FILE"],
    "top --config": ["top", "--once", "--config", "FILE"],
    "sessions ls --config": ["sessions", "ls", "--config", "FILE"],
    "sessions inspect --config": ["sessions", "inspect", "x", "--config", "FILE"],
    "sessions kill --config": ["sessions", "kill", "x", "--config", "FILE"],
    "audit": ["audit", "FILE"],
    "trace verify": ["trace", "verify", "FILE"],
    "policy show": ["policy", "show", "FILE"],
    "policy diff": ["policy", "diff", "default", "FILE"],
    "policy learn": ["policy", "learn", "FILE", "missing"],
    "policy learn --extends": ["policy", "learn", "good.py", "--extends", "FILE"],
    "kernel install --policy": ["kernel", "install", "--policy", "FILE"],
    "kernel install --prefix": ["kernel", "install", "--prefix", "FILE"],
    "kernel run": ["kernel", "run", "FILE"],
    "kernel run --policy": ["kernel", "run", "missing", "--policy", "FILE"],
    "eval": ["eval", "custom", "FILE", "--data", "missing"],
    "eval --data": ["eval", "custom", "good.jsonl", "--data", "FILE"],
    "eval --config": ["eval", "custom", "s.jsonl", "--model", "m", "--config", "FILE"],
    "env create --locked": ["env", "create", "one", "--locked", "FILE", "--offline"],
    "env show": ["env", "show", "FILE"],
    "env lock": ["env", "lock", "FILE"],
    "env remove": ["env", "remove", "FILE"],
}
NO_FAULT = {
    ("run", "broken"),
    ("run --trace", "missing"),
    ("policy learn --extends", "broken"),
    ("policy learn --extends", "not text"),
    ("kernel install --prefix", "missing"),
    ("kernel install --prefix", "a directory"),
}
"""What a command may be given: a snippet's fault is the snippet's, a log or a directory is made,
what is extended is looked for where the printed file comes to lie.
"""
PROGRESS = ("Choosing versions",)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("XDG_DATA_HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "HOME"):
        monkeypatch.setenv(name, str(tmp_path / "home"))
    (tmp_path / "directory").mkdir()
    (tmp_path / "broken.toml").write_text("= [")
    (tmp_path / "bytes.toml").write_bytes(b"\xff\xfe\x00 =")
    (tmp_path / "good.py").write_text("import json\n")
    (tmp_path / "good.jsonl").write_text(json.dumps({"task_id": "t", "solution": ""}) + "\n")
    return tmp_path


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(commands, arguments, prog_name="cellblock")


def require_told(result: Result) -> None:
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    assert result.exit_code != 0, result.output
    said = [line for line in result.stderr.strip().splitlines() if line not in PROGRESS]
    assert said
    assert "Traceback" not in result.stderr
    if said[0].startswith("Usage:"):
        assert said[-1].startswith("Error: ")
    else:
        assert len(said) == 1, said


@pytest.mark.parametrize("kind", PLACES)
@pytest.mark.parametrize("command", COMMANDS)
def test_a_wrong_file_is_told_in_one_line(command: str, kind: str, place: Path) -> None:
    if (command, kind) in NO_FAULT:
        return
    result = invoke(*(PLACES[kind] if word == "FILE" else word for word in COMMANDS[command]))
    require_told(result)


# ---- names --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("dta", "Did you mean 'data-science'?"),
        ("agnt", "Did you mean 'agent'?"),
        (
            "data",
            'is a preset of `imports`, and no policy. In a FILE.toml, write: imports = "data"',
        ),
        ("mine", "or a FILE.toml"),
        ("good.py", "For the file: ./good.py"),
        ("", "none is named ''"),
    ],
)
@pytest.mark.parametrize(
    "command",
    [
        ["policy", "show"],
        ["policy", "diff", "agent"],
        ["run", "-c", "1", "--policy"],
        ["check", "good.py", "--policy"],
    ],
    ids=" ".join,
)
def test_an_unknown_policy_is_told_with_what_was_meant(
    command: list[str], name: str, said: str, place: Path
) -> None:
    result = invoke(*command, name)
    require_told(result)
    assert result.exit_code == 2
    assert said in result.stderr
    assert "extends" not in result.stderr


def test_a_file_that_the_system_does_not_give_is_named(
    capsys: pytest.CaptureFixture[str],
) -> None:
    error = PermissionError(errno.EACCES, "Permission denied", "s.log")
    with pytest.raises(click.exceptions.Exit) as left, engine_errors():
        raise error
    assert left.value.exit_code == 2
    with pytest.raises(click.exceptions.Exit) as left, engine_errors():
        raise OSError(errno.ENOSPC, "No space left on device", "s.log")
    assert left.value.exit_code == 125
    assert capsys.readouterr().err == (
        "cellblock: s.log: Permission denied. Name a file that is there and that you may use\n"
        "cellblock: s.log: No space left on device\n"
    )


def test_the_schema_is_printed_without_a_warning(recwarn: pytest.WarningsRecorder) -> None:
    schema = json.loads(invoke("policy", "schema").stdout)
    assert schema["properties"]["env"]["default"] == {}
    assert [str(one.message) for one in recwarn] == []


# ---- logs ---------------------------------------------------------------------------------------


def test_a_broken_log_is_told_before_anything_runs(place: Path) -> None:
    (place / "broken.log").write_text("no event\n")
    result = invoke("run", "-c", "print('ran')", "--trace", "broken.log")
    assert (result.exit_code, result.stdout) == (125, "")
    assert "line 1: is no event of a log. Nothing was run" in result.stderr
    assert (place / "broken.log").read_text() == "no event\n"
    result = invoke("run", "-c", "print('ran')", "--trace", "nowhere/new.log")
    assert (result.exit_code, result.stdout) == (125, "")
    assert "nowhere/new.log: cannot be added to: No such file or directory" in result.stderr


def test_audit_says_of_a_trace_log_what_it_is(place: Path) -> None:
    event_log.append(place / "traced.log", [{"event": "run"}, {"event": "end"}])
    result = invoke("audit", "traced.log")
    assert result.exit_code == 2
    assert result.stderr == (
        "cellblock: traced.log: is a trace log, and no audit log."
        " Check it with: cellblock trace verify traced.log.\n"
    )


# ---- benchmarks ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("task", "sample", "said"),
    [
        (
            {"test": "assert f()"},
            {"soluton": "x = 1"},
            "s.jsonl:1: soluton: is no field of a row. Did you mean 'solution'?",
        ),
        (
            {"test": "assert f()"},
            {"text": "x = 1"},
            "s.jsonl:1: completion: is missing. Give it, or solution.",
        ),
        ({"code": ""}, {"solution": "x = 1"}, "t.jsonl:1: test: is missing."),
        (
            {"kind": "answer", "answer": "1"},
            {"respons": "1"},
            "s.jsonl:1: respons: is no field of a row. Did you mean 'response'?",
        ),
    ],
)
def test_a_missing_field_is_told_with_the_one_that_was_misspelt(
    task: dict[str, str], sample: dict[str, str], said: str, place: Path
) -> None:
    (place / "t.jsonl").write_text(json.dumps({"task_id": "t", **task}) + "\n")
    (place / "s.jsonl").write_text(json.dumps({"task_id": "t", **sample}) + "\n")
    result = invoke("eval", "custom", "s.jsonl", "--data", "t.jsonl")
    assert (result.exit_code, result.stderr) == (2, f"cellblock eval: {said}\n")


def test_against_without_a_page_is_wrong_usage(place: Path) -> None:
    result = invoke("eval", "custom", "s.jsonl", "--against", "other.jsonl")
    assert result.exit_code == 2
    assert "--against needs --html" in result.stderr
