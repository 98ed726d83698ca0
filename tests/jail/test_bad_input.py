"""Wrong input is a typed error or an honest outcome, and the sandbox goes on."""

import os
import sys
from contextlib import closing
from pathlib import Path

import pytest

from sandbox import (
    EnvironmentFailed,
    ImportPolicy,
    Limits,
    Mount,
    Policy,
    PolicyError,
    Sandbox,
    Session,
)
from sandbox.outcome import Raised
from sandbox.policy.environment import discover
from sandbox.protocol.plan import ImportRule

MiB = 1024 * 1024


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"teir": "namespaces"}, "teir"),
        ({"tier": "vm"}, "tier"),
        ({"limits": {"wall": 3}}, "limits.wall"),
        ({"limits": {"wall_s": "3"}}, "limits.wall_s"),
        ({"limits": {"output_bytes": 10, "kept_bytes": 20}}, "limits"),
        ({"preload": ["os; import sys"]}, "preload"),
        ({"preload": ["subprocess"], "imports": "data"}, "preload"),
        ({"network": "all"}, "network"),
        ({"env": {"LD_PRELOAD": "x"}}, "env"),
        ({"mounts": [{"host": "relative", "target": "/data"}]}, "mounts"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_wrong_policy_is_refused_by_the_name_of_the_field(
    settings: dict[str, object], field: str
) -> None:
    with pytest.raises(PolicyError) as refused:
        Policy(**settings)  # type: ignore[arg-type]
    assert refused.value.field.startswith(field)


def test_a_mount_that_does_not_exist_is_refused_before_anything_starts() -> None:
    policy = Policy(mounts=(Mount(host="/no/such/place", target="/data"),))
    with pytest.raises(PolicyError, match="No such file or directory"), Sandbox(policy) as box:
        box.run("1")


@pytest.mark.parametrize("interpreter", ["/no/such/python", "no-such-python", "/bin/true", "/tmp"])
def test_a_missing_or_wrong_interpreter_is_a_typed_error(interpreter: str) -> None:
    with closing(Sandbox(Policy(environment=interpreter))) as box:
        with pytest.raises(EnvironmentFailed) as failed:
            box.run("1")
        assert interpreter.rpartition("/")[2] in failed.value.interpreter
        assert failed.value.module == ""


@pytest.mark.parametrize(
    ("module", "error"),
    [("no_such_module", "ModuleNotFoundError"), ("msilib", "Error"), ("asyncio.no", "Error")],
)
def test_a_preload_that_does_not_import_names_itself(module: str, error: str) -> None:
    with closing(Sandbox(Policy(preload=("json", module)))) as box:
        with pytest.raises(EnvironmentFailed) as failed:
            box.run("1")
        assert failed.value.module == module
        assert error in failed.value.detail


def test_an_empty_snippet_completes(session: Session) -> None:
    for code in ("", "\n\n", "# nothing", "   "):
        outcome = session.run(code)
        assert (outcome.status, outcome.text, outcome.stdout) == ("completed", None, "")


def test_a_syntax_error_shows_the_line_and_the_caret(session: Session) -> None:
    outcome = session.run("x = 1\ny = (2 +\n")
    assert isinstance(outcome, Raised)
    assert outcome.error.type == "SyntaxError"
    assert "y = (2 +" in outcome.error.traceback
    assert "^" in outcome.error.traceback
    assert session.run("'x' in globals()").text == "False"


@pytest.mark.parametrize("code", ["x = '\0'", "\0", "x = 1\0\n"])
def test_null_characters_are_an_error_of_the_snippet(session: Session, code: str) -> None:
    outcome = session.run(code)
    assert isinstance(outcome, Raised)
    assert outcome.error.type in ("SyntaxError", "ValueError")
    assert session.run("1").text == "1"


def test_lone_surrogates_are_an_honest_outcome(session: Session) -> None:
    outcome = session.run("x = '\ud800'")
    assert outcome.status in ("completed", "raised")
    echo = session.run("'a' + chr(0xd800)")
    assert echo.text == "'a\\ud800'"
    printed = session.run("print(chr(0xdcff))")
    assert printed.status == "completed"
    assert session.run("input()", stdin="\ud800\n").status in ("completed", "raised")
    assert session.run("1").text == "1"


def test_a_snippet_of_ten_megabytes_runs(session: Session) -> None:
    outcome = session.run(f"x = '{'a' * 10 * MiB}'\nlen(x)")
    assert outcome.text == str(10 * MiB)


def test_a_snippet_above_the_cap_is_refused_and_the_session_lives(session: Session) -> None:
    session.run("x = 1")
    with pytest.raises(PolicyError, match="code"):
        session.run("#" * (17 * MiB))
    assert session.run("x").text == "1"


def test_a_wrong_size_of_the_sandbox_is_refused() -> None:
    for settings in ({"pool_size": -1}, {"max_sessions": 0}, {"max_waiting": -1}):
        with pytest.raises(PolicyError) as refused:
            Sandbox(**settings)  # type: ignore[arg-type]
        assert refused.value.field in settings


def test_a_limit_of_nothing_is_refused() -> None:
    for settings in ({"wall_s": 0}, {"cpu_s": -1}, {"memory_bytes": 1}, {"processes": 0}):
        with pytest.raises(PolicyError):
            Limits(**settings)


def test_a_module_that_the_policy_kills_for_ends_the_snippet_and_no_more(session: Session) -> None:
    policy = Policy(imports=ImportPolicy(rules=(ImportRule("socket", "kill", "it is a test"),)))
    with Sandbox(policy, pool_size=0) as box, box.session() as strict:
        strict.run("x = 1")
        assert strict.run("import socket").status == "died"
        assert strict.run("x").text == "1"
    assert session.run("import socket").status == "completed"


def test_an_interpreter_that_vanishes_before_its_start_is_a_typed_error(tmp_path: Path) -> None:
    interpreter = tmp_path / "python"
    interpreter.symlink_to(os.path.realpath(sys.executable))
    with closing(Sandbox(Policy(tier="process", environment=str(interpreter)))) as box:
        box._box._supply._environment = discover(str(interpreter))
        interpreter.unlink()
        with pytest.raises(EnvironmentFailed, match="cannot be started"):
            box.run("1")
