"""What a traced session tells: attempts and refusals, with line, rule and remedy."""

import tomllib
from collections.abc import Iterator

import pytest

from sandbox import Attempt, Outcome, Policy, Sandbox, Session, allowed_beyond
from tests.jail.corpus import Tier

REFUSED_CALLS = """\
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
for _ in range(50):
    libc.ptrace(16, 1, 0, 0)
libc.unshare(0x10000000)
"""


@pytest.fixture(scope="module")
def traced(tier: Tier) -> Iterator[Sandbox]:
    with Sandbox(Policy(tier=tier, trace=True), pool_size=1) as opened:
        yield opened


@pytest.fixture
def watched(traced: Sandbox) -> Iterator[Session]:
    with traced.session() as opened:
        yield opened


def one(outcome: Outcome, action: str, part: str = "") -> Attempt:
    """The attempt of that kind; there must be one."""
    found = [row for row in outcome.attempts if row.action == action and part in row.tried]
    assert len(found) == 1, outcome.attempts
    return found[0]


def test_refused_calls_are_told_with_their_arguments_line_and_count(watched: Session) -> None:
    outcome = watched.run(REFUSED_CALLS)
    assert outcome.status == "completed"
    attached = one(outcome, "inspect")
    assert attached.arguments["request"] == "PTRACE_ATTACH"
    assert (attached.line, attached.count, attached.is_allowed) == (4, 50, False)
    assert not attached.is_guests_word
    assert attached.rule == "ptrace -> EPERM: no snippet reaches into another process"
    assert one(outcome, "namespace").arguments["flags"] == "CLONE_NEWUSER"
    denied = {row.tried: row for row in outcome.denials}
    assert denied[attached.tried].count == 50
    assert denied[attached.tried].layer == "seccomp"
    assert "ptrace" in denied[attached.tried].sentence


def test_a_refusal_keeps_its_errno(watched: Session, session: Session) -> None:
    code = """\
import ctypes, errno
libc = ctypes.CDLL(None, use_errno=True)
found = []
for call, *arguments in [("ptrace", 16, 1), ("mount", 0, 0), ("shmget", 1, 4096, 0o666),
                         ("setuid", 0), ("personality", 0x40000)]:
    getattr(libc, call)(*arguments)
    found.append(errno.errorcode[ctypes.get_errno()])
found
"""
    assert watched.run(code).text == session.run(code).text


def test_counts_begin_anew_with_each_snippet(watched: Session) -> None:
    watched.run(REFUSED_CALLS)
    assert watched.run("1 + 1").attempts == ()
    assert one(watched.run(REFUSED_CALLS), "inspect").count == 50


def test_files_are_told_with_what_would_allow_them(watched: Session, tier: Tier) -> None:
    outcome = watched.run("open('out.txt', 'w').close()\nopen('/srv/table.csv')")
    written = one(outcome, "write")
    assert written.arguments["path"].endswith("/out.txt")
    assert written.arguments["mode"] == "w"
    assert written.is_allowed
    assert written.is_guests_word
    read = one(outcome, "read")
    assert (read.line, read.is_allowed) == (2, False)
    assert tomllib.loads(read.allow_with) == {
        "mounts": [{"host": "/srv/table.csv", "target": "/srv/table.csv"}]
    }
    layer = "mount_namespace" if tier == "namespaces" else "landlock"
    assert [row.layer for row in outcome.denials] == [layer]


def test_a_file_that_may_be_read_is_allowed(watched: Session) -> None:
    watched.put("in.csv", "a,b\n1,2\n")
    outcome = watched.run("open('in.csv').read()\nopen('none.csv')")
    assert one(outcome, "read", "in.csv").is_allowed
    assert one(outcome, "read", "none.csv").is_allowed
    assert outcome.denials == ()


def test_addresses_are_told_with_what_would_allow_them(watched: Session, tier: Tier) -> None:
    code = "import socket\nsocket.create_connection(('203.0.113.10', 443), 1)"
    outcome = watched.run(code)
    refused = [row for row in outcome.attempts if not row.is_allowed]
    assert [row.line for row in refused] == [2]
    assert [row.line for row in outcome.denials] == [2]
    change = tomllib.loads(refused[0].allow_with)
    if tier == "namespaces":
        assert refused[0].tried == "203.0.113.10:443"
        assert change == {"network": ["203.0.113.10:443!"]}
        Policy(**change)
    else:
        assert refused[0].arguments["family"] == "AF_INET"
        assert change == {"tier": "namespaces"}


def test_programs_are_told_with_their_arguments(watched: Session) -> None:
    outcome = watched.run("import subprocess\nsubprocess.run(['sh', '-c', 'exit 3'])")
    started = one(outcome, "program")
    assert started.arguments == {"program": "sh", "command": "sh -c 'exit 3'"}
    assert started.is_allowed


def test_refused_calls_of_programs_are_told_with_their_name(watched: Session) -> None:
    outcome = watched.run("import subprocess\nsubprocess.run(['unshare', '-U', 'true'])")
    assert one(outcome, "namespace").arguments["process"] == "unshare"


def test_a_child_that_was_forked_is_heard(watched: Session) -> None:
    code = """\
import os
if os.fork() == 0:
    try:
        open('/srv/secret')
    except OSError:
        os._exit(0)
os.wait()
"""
    read = one(watched.run(code), "read")
    assert read.arguments["process"] == "child"
    assert not read.is_allowed


def test_imports_are_told_with_their_line(watched: Session) -> None:
    outcome = watched.run("import json\nfrom os import path")
    seen = [(row.tried, row.line) for row in outcome.attempts]
    assert seen == [("json", 1), ("os", 2), ("os.path", 2)]
    assert {(row.action, row.is_allowed) for row in outcome.attempts} == {("import", True)}


def test_a_signal_to_init_is_told(watched: Session) -> None:
    outcome = watched.run("import os\nos.kill(1, 9)")
    refused = one(outcome, "signal")
    assert (refused.line, refused.is_allowed, refused.arguments["target"]) == (2, False, "1")


def test_reading_all_variables_is_told_and_one_is_not(watched: Session) -> None:
    assert watched.run("import os\nos.environ['HOME'], os.environ.get('X')").attempts[1:] == ()
    assert one(watched.run("import os\ndict(os.environ)"), "environment").line == 2


def test_what_was_told_outlives_a_snippet_that_ends_its_process(watched: Session) -> None:
    outcome = watched.run("import os\ntry: os.listdir('/srv/keys')\nexcept OSError: os._exit(0)")
    assert outcome.status == "died"
    assert one(outcome, "list").arguments["path"] == "/srv/keys"


def test_a_session_that_is_not_traced_tells_nothing(session: Session) -> None:
    outcome = session.run(REFUSED_CALLS)
    assert (outcome.attempts, outcome.denials) == ((), ())


def test_the_error_that_ends_a_snippet_is_a_denial_without_a_trace(
    session: Session, tier: Tier
) -> None:
    outcome = session.run("x = 1\nopen('/usr/x', 'w')")
    [denial] = outcome.denials
    layer = "mount_namespace" if tier == "namespaces" else "landlock"
    assert (denial.layer, denial.line, denial.arguments["path"]) == (layer, 2, "/usr/x")
    assert denial.is_guests_word
    outcome = session.run("open('missing.txt')")
    assert outcome.denials == ()


def test_a_refused_import_names_the_rule_that_would_allow_it(tier: Tier) -> None:
    with Sandbox(Policy(tier=tier, imports="data")) as box:
        outcome = box.run("x = 1\nimport socket")
    [denial] = outcome.denials
    assert denial.line == 2
    assert denial.arguments == {"module": "socket"}
    change = tomllib.loads(denial.allow_with)
    assert change["imports"]["rules"] == [{"pattern": "socket", "action": "allow"}]
    assert "socket" in denial.sentence


@pytest.mark.parametrize(
    "imports",
    [
        "data",
        "pure",
        {"default": "refuse", "rules": [{"pattern": "j*", "action": "allow"}]},
        {
            "default": "allow",
            "rules": [{"pattern": "xml*", "action": "refuse", "reason": "\U0001f600"}],
        },
    ],
    ids=["data", "pure", "few", "most"],
)
def test_the_change_that_allows_an_import_allows_it_and_no_more(imports: object) -> None:
    policy = Policy.model_validate({"imports": imports})
    for module in ("xmlrpc.client", "xml.dom.minidom"):
        with Sandbox(policy, pool_size=0) as box:
            refused = box.run(f"import {module}")
            if not refused.denials:
                continue
            changed = Policy.model_validate(
                {"imports": imports, **tomllib.loads(refused.denials[0].allow_with)}
            )
        assert set(allowed_beyond(policy, changed)) <= {f"imports: {module}"}
        with Sandbox(changed, pool_size=0) as box:
            assert box.run(f"import {module}").status == "completed"
        policy, imports = changed, changed.imports


def test_a_snippet_that_keeps_going_tries_all_and_ends_with_its_first_error(tier: Tier) -> None:
    policy = Policy(tier=tier, trace=True, keep_going=True)
    with Sandbox(policy) as box:
        outcome = box.run("open('/srv/a')\n1 / 0\nopen('/srv/b')\nx = 3\nx")
    assert [row.tried for row in outcome.attempts] == ["/srv/a", "/srv/b"]
    assert outcome.status == "raised"
    assert outcome.error.type == "FileNotFoundError"
    assert "ZeroDivisionError" in outcome.stderr


# ---- what a hostile snippet makes of it ---------------------------------------------------------


def test_a_flood_of_different_refused_calls_is_bounded(watched: Session) -> None:
    outcome = watched.run(
        "import ctypes\nlibc = ctypes.CDLL(None)\nfor n in range(3000): libc.ptrace(16, n, 0, 0)"
    )
    assert outcome.status == "completed"
    assert len(outcome.attempts) < 300
    [more] = [row for row in outcome.attempts if row.action == "more"]
    assert more.count > 2000
    assert not more.is_allowed
    assert watched.run("1 + 1").text == "2"


def test_a_flood_of_different_files_is_bounded(watched: Session) -> None:
    code = "for n in range(3000):\n    try: open(f'/srv/{n}')\n    except OSError: pass"
    outcome = watched.run(code)
    assert outcome.status == "completed"
    [more] = [row for row in outcome.attempts if row.action == "more"]
    assert more.count == 2600
    assert len(outcome.denials) <= 401


def test_forged_attempts_are_the_guests_word_and_hide_no_refused_call(watched: Session) -> None:
    code = """\
import builtins, ctypes
libc = ctypes.CDLL(None)
attempts = builtins.__import__.__self__._observe.__self__
attempts.note_import('innocent', is_allowed=True, rule='forged')
attempts._is_on = False
libc.ptrace(16, 1, 0, 0)
try: open('/srv/unseen')
except OSError: pass
"""
    outcome = watched.run(code)
    assert one(outcome, "import", "innocent").is_guests_word
    assert [row for row in outcome.attempts if row.action == "read"] == []
    seen = one(outcome, "inspect")
    assert not seen.is_guests_word
    assert not seen.is_allowed


def test_more_messages_than_a_snippet_may_send_end_its_session(watched: Session) -> None:
    code = """\
import builtins
from sandbox.protocol.messages import Attempted
process = builtins.__import__.__self__._report.__self__
for n in range(500):
    process._say(Attempted(process._nonce, 'x', 'y', str(n), {}, 0, True, ''))
"""
    outcome = watched.run(code)
    assert outcome.status == "died"
    assert [row.layer for row in outcome.denials][:1] == ["protocol"]


def test_arguments_that_change_while_init_looks_grant_nothing(watched: Session) -> None:
    code = """\
import ctypes, threading
libc = ctypes.CDLL(None, use_errno=True)
path = ctypes.create_string_buffer(b'/srv', 64)
stop = False
def flip():
    while not stop:
        path.value = b'/tmp'
        path.value = b'/srv'
thread = threading.Thread(target=flip)
thread.start()
results = {libc.chroot(path) for _ in range(300)} | {libc.mount(path, path, path, 0, None)}
stop = True
thread.join()
results
"""
    outcome = watched.run(code)
    assert outcome.text == "{-1}"
    assert {row.is_allowed for row in outcome.attempts if row.layer == "seccomp"} == {False}
