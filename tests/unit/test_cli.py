"""The command line without a jail: usage, limits, wording, and what a front end shows."""

import base64
import io
import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from rich.console import Console

import sandbox
from runner.cli import commands, with_limits, with_network
from runner.commands import check
from runner.commands.printing import displays, wording
from runner.commands.printing.explain import explain
from runner.commands.repl import completeness
from sandbox import (
    Artifact,
    Checked,
    Completed,
    Denial,
    Died,
    Displayed,
    ErrorInfo,
    LimitExceeded,
    Limits,
    Outcome,
    Policy,
    PolicyError,
    Raised,
    Refused,
    StreamCut,
    Truncated,
    Usage,
)

MiB = 1024 * 1024
HELD = {"tier": "namespaces", "layers": ("mount_namespace", "seccomp")}
PNG = base64.b64encode(b"\x89PNG").decode()


def invoke(*arguments: str, stdin: str = "") -> Result:
    return CliRunner().invoke(commands, arguments, prog_name="cellblock", input=stdin)


def account(outcome: Outcome) -> str:
    said = io.StringIO()
    explain(outcome, Console(file=said, width=100))
    return said.getvalue()


# ---- usage --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["run"], "Give one snippet"),
        (["run", "-c", "1", "-"], "Give one snippet"),
        (["run", "-", "--stdin", "-"], "Standard input cannot be both"),
        (["run", "missing.py"], "does not exist"),
        (["run", "-c", "1", "--timeout", "soon"], "not a valid float"),
        (["run", "-c", "1", "--put", "missing"], "does not exist"),
        (["run", "-c", "1", "--policy", "missing.toml"], "does not exist"),
        (["run", "-c", "1", "--timeout", "0"], "0.0 is not in the range x>0"),
        (["run", "-c", "1", "--timeout", "1e9"], "wall_s: is 1000000000.0"),
        (["run", "-c", "1", "--memory", "15"], "15 is not in the range x>=16"),
        (["check"], "Give one snippet"),
        (["conjure"], "No such command"),
    ],
)
def test_wrong_usage_is_told_and_exits_with_2(arguments: list[str], said: str) -> None:
    result = invoke(*arguments)
    assert result.exit_code == 2
    assert said in result.stderr
    assert result.stdout == ""


def test_a_wrong_policy_names_its_file_and_key(tmp_path: Path) -> None:
    file = tmp_path / "policy.toml"
    file.write_text("[limits]\nwall = 3\n")
    result = invoke("run", "-c", "1", "--policy", str(file))
    assert result.exit_code == 2
    assert result.stderr == (
        f"cellblock: {file}: limits.wall: unknown key of Limits. Did you mean 'wall_s'?\n"
    )


def test_bytes_that_are_no_text_are_wrong_usage(tmp_path: Path) -> None:
    file = tmp_path / "snippet.py"
    file.write_bytes(b"print('\xff')")
    result = invoke("run", str(file))
    assert result.exit_code == 2
    assert "is no Python" in result.stderr


def test_every_command_is_listed_with_its_help() -> None:
    listed = invoke("--help").stdout
    assert {"run", "check", "doctor", "repl"} <= set(commands.commands)
    for name in commands.commands:
        assert f"  {name} " in listed
    for name in ("run", "check", "doctor"):
        assert "Exit status:" in invoke(name, "--help").stdout
    told = " ".join(invoke("run", "--help").stdout.split())
    assert all(f" {status} " in told for status in (0, 1, 2, 124, 125, 126, 130, 137))


def test_no_environments_are_said_to_be_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert invoke("env", "list").stdout.startswith("There are none.")
    assert invoke("env", "list", "--json").stdout == ""


def test_help_loads_neither_the_engine_nor_what_it_needs() -> None:
    code = "import sys, runner.cli; print([name for name in sys.modules if name in sys.argv[1:]])"
    heavy = ["pydantic", "psutil", "asyncio", "rich", "sandbox.engine", "sandbox.outcome"]
    ran = subprocess.run([sys.executable, "-c", code, *heavy], capture_output=True, text=True)
    assert (ran.stdout, ran.stderr) == ("[]\n", "")


def test_every_public_name_of_the_engine_resolves() -> None:
    assert set(sandbox.__all__) == set(sandbox._HOMES)
    for name in sandbox.__all__:
        assert getattr(sandbox, name) is not None


# ---- limits -------------------------------------------------------------------------------------


def test_limits_of_the_command_line_stand_over_the_policys() -> None:
    policy = Policy(survive=False, limits=Limits(open_files=64, memory_bytes=100 * MiB))
    changed = with_limits(policy, timeout_s=2, memory_mb=64)
    assert changed.survive is False
    assert changed.limits == Limits(
        open_files=64, memory_bytes=64 * MiB, wall_s=2, cpu_s=policy.limits.cpu_s
    )


def test_more_time_is_time_to_compute_in_unless_the_policy_limits_that() -> None:
    assert with_limits(Policy(), timeout_s=90, memory_mb=None).limits.cpu_s == 90
    own = Policy(limits=Limits(cpu_s=5))
    assert with_limits(own, timeout_s=90, memory_mb=None).limits.cpu_s == 5


def test_a_policy_without_limits_on_the_command_line_is_left_alone() -> None:
    policy = Policy()
    assert with_limits(policy, timeout_s=None, memory_mb=None) is policy


def test_a_limit_that_cannot_be_is_refused() -> None:
    with pytest.raises(PolicyError, match="wall_s"):
        with_limits(Policy(), timeout_s=-1, memory_mb=None)


def test_hosts_of_the_command_line_stand_beside_those_of_the_policy() -> None:
    assert with_network(Policy(), ()) == Policy()
    policy = Policy(preload=["json"], network=["a.example.org:443"])
    changed = with_network(policy, ("b.example.org:443", "127.0.0.1:5432!"))
    assert changed.network == ("a.example.org:443", "b.example.org:443", "127.0.0.1:5432!")
    assert changed.preload == ("json",)
    with pytest.raises(PolicyError, match="network"):
        with_network(Policy(), ("no port",))
    with pytest.raises(PolicyError, match="namespaces"):
        with_network(Policy(tier="landlock"), ("a.example.org:443",))


# ---- wording ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("outcome", "words"),
    [
        (Completed(**HELD), "completed"),
        (
            Raised(error=ErrorInfo(type="E\x1b[2J", message="", traceback=""), **HELD),
            "raised E\\x1b[2J",
        ),
        (
            LimitExceeded(limit="wall_s", allowed=1, observed=1.0041, **HELD),
            "stopped: out of time (wall_s 1 s, allowed 1 s)",
        ),
        (
            LimitExceeded(limit="memory_bytes", allowed=MiB, observed=1.5 * MiB, **HELD),
            "stopped: out of memory (memory_bytes 1.5 MiB, allowed 1 MiB)",
        ),
        (
            LimitExceeded(limit="memory_bytes", allowed=100 * MiB, observed=5.25 * MiB, **HELD),
            "stopped: out of memory (an allocation did not fit beside 5.2 MiB in use, memory_bytes"
            " allows 100 MiB)",
        ),
        (
            LimitExceeded(limit="processes", allowed=8, observed=8, **HELD),
            "stopped: too many processes (processes 8, allowed 8)",
        ),
        (Died(signal="SIGSEGV", **HELD), "died by SIGSEGV"),
        (Died(exit_code=3, **HELD), "died with exit status 3"),
        (Refused(reason="no\nif", line=2, **HELD), "refused, nothing ran: line 2: no\\nif"),
        (Refused(reason="too long", **HELD), "refused, nothing ran: too long"),
    ],
)
def test_each_ending_has_its_words(outcome: Outcome, words: str) -> None:
    assert wording.ending(outcome) == words


@pytest.mark.parametrize(
    ("count", "words"),
    [(0, "0 B"), (1023, "1023 B"), (1024, "1 KiB"), (1536, "1.5 KiB"), (5000 << 40, "5000 TiB")],
)
def test_sizes_are_told_in_the_unit_that_fits(count: int, words: str) -> None:
    assert wording.size(count) == words


def test_the_bill_names_every_amount() -> None:
    usage = Usage(
        wall_s=1.25,
        cpu_user_s=0.5,
        cpu_system_s=0.125,
        peak_memory_bytes=3 * MiB,
        written_bytes=10,
        processes=1,
        start_s=0.004,
    )
    assert wording.bill(Completed(usage=usage, **HELD)) == (
        "1.250 s, CPU 0.500 s + 0.125 s in the kernel, at most 3 MiB in 1 process, 10 B written,"
        " started in 4.0 ms"
    )


def test_the_account_names_every_denial_with_layer_rule_and_hint() -> None:
    refused = Denial(layer="import_policy", tried="socket", rule="socket -> refuse", hint="files")
    bare = Denial(layer="seccomp", tried="a system call", rule="kill")
    lines = account(Completed(denials=(refused, bare), **HELD)).splitlines()
    assert lines[0].rstrip() == "warning  tried to import socket: refused by the import policy"
    assert [line.rstrip() for line in lines[3:8]] == [
        "refused  import_policy: socket",
        "         rule: socket -> refuse",
        "         hint: files",
        "refused  seccomp: a system call",
        "         rule: kill",
    ]
    assert "tier     namespaces; 2 layers held: mount_namespace, seccomp" in account(
        Completed(**HELD)
    )


def test_the_account_says_when_nothing_was_refused_and_what_was_cut() -> None:
    cut = Truncated(stdout=StreamCut(kept_bytes=10, dropped_bytes=90))
    said = account(Completed(truncated=cut, **HELD))
    assert "refused   nothing" in said
    assert "left out  stdout: 90 of 100 bytes" in said


def test_the_account_shows_no_control_of_the_guests() -> None:
    wild = "\x1b]52;c;eA==\x07\n\u202e"
    denial = Denial(layer="import_policy", tried=wild, rule=wild, hint=wild)
    file = Artifact(path=wild, size_bytes=1, mime=wild, sha256=None)
    said = account(Completed(denials=(denial,), artifacts=(file,), **HELD))
    assert not set(said) & set("\x1b\x07\u202e")
    assert said.count("\\x1b]52;c;eA==\\x07\\n\\u202e") == 6


def test_the_account_takes_no_markup_of_the_guests() -> None:
    denial = Denial(layer="x", tried="[red]not red[/red]", rule="[/]")
    assert "[red]not red[/red]" in account(Completed(denials=(denial,), **HELD))


# ---- findings of a check ------------------------------------------------------------------------


def findings(**changes: object) -> Checked:
    given: dict[str, object] = {
        "nonce": "",
        "imports": [["socket", 2, "refuse", "socket"], ["math", 1, "allow", "math"]],
        "refusals": [[2, "import socket", "the jail has no network"]],
        "syntax_error": "",
        "findings": [],
    }
    return Checked(**(given | changes))  # type: ignore[arg-type]


def rendered(found: Checked) -> list[str]:
    said = io.StringIO()
    check.render(found, Policy(), Console(file=said, width=100))
    return [line.rstrip() for line in said.getvalue().splitlines()]


def test_a_check_shows_imports_and_refusals() -> None:
    assert rendered(findings()) == [
        "imports   line   action   rule",
        "socket    2      refuse   socket",
        "math      1      allow    math",
        "",
        "line   would be refused   why",
        "2      import socket      the jail has no network",
    ]


def test_a_check_says_when_there_is_nothing_to_say() -> None:
    assert rendered(findings(imports=[], refusals=[])) == [
        "It imports nothing.",
        "",
        "Nothing would be refused (language full).",
    ]
    assert rendered(findings(syntax_error="line 1: \x1b[2J")) == [
        "It does not compile: line 1: \\x1b[2J"
    ]


def test_a_check_as_json_names_its_columns() -> None:
    assert json.loads(json.dumps(check.to_object(findings()))) == {
        "imports": [
            {"module": "socket", "line": 2, "action": "refuse", "rule": "socket"},
            {"module": "math", "line": 1, "action": "allow", "rule": "math"},
        ],
        "refusals": [
            {"line": 2, "construct": "import socket", "reason": "the jail has no network"}
        ],
        "syntax_error": "",
        "findings": [],
    }


# ---- displays -----------------------------------------------------------------------------------


def test_the_rich_form_of_the_echo_is_not_shown_twice() -> None:
    table, other = Displayed({"text/plain": "1"}), Displayed({"text/plain": "2"})
    assert displays.without_echo([table, other, table], "1") == [table, other]
    assert displays.without_echo([table, other], None) == [table, other]
    assert displays.without_echo([table], "3") == [table]


def test_a_bundle_is_saved_in_its_richest_form(tmp_path: Path) -> None:
    bundle = {"text/plain": "x", "text/html": "<b>x</b>", "image/png": PNG}
    path = displays.save(bundle, tmp_path, "001")
    assert path == tmp_path / "001.png"
    assert path.read_bytes() == b"\x89PNG"
    del bundle["image/png"]
    assert (tmp_path / "002.html") == displays.save(bundle, tmp_path, "002")
    assert (tmp_path / "002.html").read_text() == "<b>x</b>"


def test_what_only_claims_to_be_a_picture_is_not_saved(tmp_path: Path) -> None:
    assert displays.save({"image/png": "é not base64"}, tmp_path, "001") is None
    assert displays.save({"text/plain": "x"}, tmp_path, "001") is None
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_there_is_never_overwritten(tmp_path: Path) -> None:
    (tmp_path / "001.png").write_text("mine")
    with pytest.raises(FileExistsError):
        displays.save({"image/png": PNG}, tmp_path, "001")
    assert (tmp_path / "001.png").read_text() == "mine"


# ---- whole snippets -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lines", "is_whole"),
    [
        ("1 + 1", True),
        ("x = (1,", False),
        ("def f():", False),
        ("def f():\n    return 1", False),
        ("def f():\n    return 1\n", True),
        ("for x in range(3): print(x)", False),
        ("for x in range(3): print(x)\n", True),
        ('text = """', False),
        ("@decorator", False),
        ("await sleep(1)", True),
        ("async with a as b:", False),
        ("1 +", True),
        ("def f(:", True),
        ("'\\d'", True),
        ("", True),
    ],
)
def test_a_snippet_is_whole_where_the_interpreter_would_run_it(lines: str, is_whole: bool) -> None:
    assert completeness()(lines) is is_whole


def test_key_prints_the_kept_key_and_makes_another_when_asked(tmp_path):
    file = tmp_path / "server.toml"
    file.write_text(f'[server]\ndata_dir = "{tmp_path}/data"\n')
    runner = CliRunner(env={"CELLBLOCK_API_KEY": "", "CELLBLOCK_CONFIG": ""})
    first = runner.invoke(commands, ["key", "--config", str(file)])
    assert first.exit_code == 0
    assert first.stdout == runner.invoke(commands, ["key", "--config", str(file)]).stdout
    assert first.stdout.startswith("sk-")
    other = runner.invoke(commands, ["key", "--config", str(file), "--new"]).stdout
    assert other != first.stdout
    assert (tmp_path / "data" / "key").read_text() == other


def test_key_says_so_when_the_config_names_keys_of_its_own(tmp_path):
    file = tmp_path / "server.toml"
    file.write_text('[[keys]]\nkey = "sk-own"\n')
    found = CliRunner(env={"CELLBLOCK_API_KEY": ""}).invoke(
        commands, ["key", "--config", str(file)]
    )
    assert found.exit_code == 2
    assert "sk-own" not in found.output
