"""The restricted level together with the import policy, each in a forked child."""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sandbox.guest.language import imports
from sandbox.protocol.plan import ImportRule
from tests.unit.guarded import run_guarded


@pytest.fixture
def in_child() -> Callable[[Callable[[], Any]], Any]:
    """Runs a function in a forked child: a policy in force stays in force."""

    def run(function: Callable[[], Any]) -> Any:
        read, write = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                try:
                    answer = function()
                except ImportError as error:
                    answer = f"ImportError: {error}"
                os.write(write, json.dumps(answer).encode())
            finally:
                os._exit(0)
        os.close(write)
        with open(read, "rb") as stream:
            answer = json.load(stream)
        os.waitpid(pid, 0)
        return answer

    return run


def under_policy(source: str, *allowed: str, roots: tuple[str, ...] = ("/workspace",)) -> Any:
    told: list[list[str]] = []
    rules = [ImportRule(name, "allow", "part of the test") for name in allowed]
    imports.install(rules, "refuse", lambda *row: told.append(list(row)), guest_roots=roots)
    try:
        result = run_guarded(source)
    except (ImportError, AttributeError) as error:
        result = f"{type(error).__name__}: {error}"
    return [result, [row[:3] for row in told]]


def test_the_import_policy_holds_at_the_restricted_level(
    in_child: Callable[[Callable[[], Any]], Any],
) -> None:
    assert in_child(lambda: under_policy("import math\nmath.floor(1.5)", "math")) == [1, []]
    assert in_child(lambda: under_policy("import os", "math")) == [
        "ImportError: import of 'os' is refused by rule 'default -> refuse': "
        "no rule allows it. Allowed instead: math.",
        [["refuse", "os", "default"]],
    ]


def test_a_module_reached_as_an_attribute_is_judged_as_an_import(
    in_child: Callable[[Callable[[], Any]], Any],
) -> None:
    source = "import glob\nglob.os"
    result, told = in_child(lambda: under_policy(source, "glob"))
    assert result.startswith("AttributeError: import of 'os' is refused by rule 'default")
    assert told == [["refuse", "os", "default"]]
    source = "import json\njson.decoder.__name__"
    assert in_child(lambda: under_policy(source, "json")) == ["json.decoder", []]


def test_native_code_loads_its_helpers_at_the_restricted_level(
    in_child: Callable[[Callable[[], Any]], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "_strptime", raising=False)
    source = "import time\ntime.strptime('2020', '%Y').tm_year"
    assert in_child(lambda: under_policy(source, "time")) == [2020, []]


def test_a_module_of_the_workspace_is_not_imported_at_the_restricted_level(
    in_child: Callable[[Callable[[], Any]], Any], tmp_path: Path
) -> None:
    (tmp_path / "helper_of_the_guest.py").write_text("x = 1")

    def attempt() -> Any:
        sys.path.insert(0, str(tmp_path))
        imports.install([], "allow", lambda *row: None, guest_roots=[str(tmp_path)])
        return run_guarded("import helper_of_the_guest")

    assert in_child(attempt) == (
        "ImportError: import of 'helper_of_the_guest' is refused by rule 'restricted level: "
        "workspace -> refuse': modules of the workspace are not compiled at this level. "
        "Allowed instead: the same code in the snippet."
    )


def test_the_sensor_sees_past_the_guards(in_child: Callable[[Callable[[], Any]], Any]) -> None:
    source = "try: open(*['/no/such/place', 'w'])\nexcept OSError: pass\n1"
    assert in_child(lambda: under_policy(source)) == [
        1, [["log", "open('/no/such/place')", "audit open"]]
    ]  # fmt: skip
