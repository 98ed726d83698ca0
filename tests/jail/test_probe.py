"""The real probe on the real kernel: as the caller, as a plain user, and where layers are gone.

A plain user needs an interpreter that the user can reach: the one that runs the tests may lie in
a private home. The first of `INTERPRETERS` that a plain user can start is taken, so what runs is
a process that became that user and then executed Python, like any other of that user's.
"""

import os
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sandbox.doctor import features
from sandbox.doctor.features import FeatureReport, ask, command, judge
from sandbox.errors import EngineTimeout, EnvironmentFailed
from sandbox.guest.kernel.syscalls import NUMBERS
from sandbox.guest.probe import trial
from sandbox.guest.probe.trial import Answer, Trial, attempt
from sandbox.processes import cgroup
from sandbox.protocol.plan import LAYERS

PLAIN_ID = 65534
INTERPRETERS = (sys.executable, "/usr/bin/python3", "/usr/local/bin/python3")
PACKAGES = str(Path(features.__file__).parents[2])
NAMESPACES = [layer for layer in LAYERS if layer.endswith("_namespace")]
ALLOW, ERRNO = 0x7FFF0000, 0x00050000

BECOME_PLAIN = f"""
import os, sys
os.setgroups([])
os.setresgid({PLAIN_ID}, {PLAIN_ID}, {PLAIN_ID})
os.setresuid({PLAIN_ID}, {PLAIN_ID}, {PLAIN_ID})
os.execv(sys.argv[1], sys.argv[1:])
"""
WITHOUT_QUOTA = f"""
import os, sys
sys.path.append({PACKAGES!r})
from sandbox.guest.probe.trial import enter_user_namespace
enter_user_namespace(inside=0)
with open("/proc/sys/user/max_user_namespaces", "w") as stream:
    stream.write("0")
os.execv(sys.argv[1], sys.argv[1:])
"""
FILTERED = f"""
import os, sys
sys.path.append({PACKAGES!r})
from sandbox.guest.jail import seccomp
seccomp.install(bytes.fromhex(sys.argv[1]))
os.execv(sys.argv[2], sys.argv[2:])
"""


def probe_through(code: str, *arguments: str, interpreter: str = sys.executable) -> FeatureReport:
    """The report of a probe that `code` has led into."""
    prefix = [sys.executable, "-I", "-S", "-B", "-c", code, *arguments]
    return judge(ask([*prefix, *command(interpreter)]))


def filter_of(calls: list[str], error: int) -> str:
    """A program that answers `error` to `calls` and allows all others, as hexadecimal digits."""
    numbers = NUMBERS[os.uname().machine]
    program = [(0x20, 0, 0, 0)]
    for call in calls:
        program += [(0x15, 0, 1, numbers[call]), (0x06, 0, 0, ERRNO | error)]
    program.append((0x06, 0, 0, ALLOW))
    return b"".join(struct.pack("=HBBI", *row) for row in program).hex()


@pytest.fixture(scope="module")
def here() -> FeatureReport:
    """The report for the user who runs the tests."""
    return features.probe()


@pytest.fixture(scope="module")
def plain_interpreter() -> str:
    """An interpreter that a plain user can start."""
    if os.geteuid() != 0:
        return sys.executable
    check = "import sys; raise SystemExit(sys.version_info < (3, 11))"
    for path in INTERPRETERS:
        tried = [sys.executable, "-I", "-c", BECOME_PLAIN, path, "-I", "-c", check]
        if os.path.exists(path) and not subprocess.run(tried, capture_output=True).returncode:
            return path
    pytest.skip(f"no Python 3.11 that uid {PLAIN_ID} can start: install one in /usr/bin")


@pytest.fixture(scope="module")
def plain(here: FeatureReport, plain_interpreter: str) -> FeatureReport:
    """The report for a plain user."""
    if os.geteuid() != 0:
        return here
    return probe_through(BECOME_PLAIN, interpreter=plain_interpreter)


def needs(report: FeatureReport, *layers: str) -> None:
    """Skip, with its remedy, the test of what this machine does not have."""
    for found in report.missing_among(layers):
        pytest.skip(f"{found.layer}: {found.seen}. {found.remedy}")


# ---- what holds here ----------------------------------------------------------------------------


def test_a_probe_leaves_no_process_mount_group_or_name_behind(here):
    def state() -> tuple[object, ...]:
        groups = cgroup.find()
        names = [os.listdir(path) for path in groups.parents.values()] if groups else []
        probes = [name.split("-") for found in names for name in found if name.endswith("-probe")]
        left = [pid for _prefix, pid, _suffix in probes if not os.path.exists(f"/proc/{pid}")]
        mounts = Path("/proc/self/mountinfo").read_text()
        children = Path(f"/proc/self/task/{os.getpid()}/children").read_text()
        return left, mounts, children, os.uname().nodename, sorted(os.listdir("/proc/self/fd"))

    before = state()
    again = judge(ask(command(sys.executable)))
    assert state() == before
    assert again == here


def test_the_report_is_asked_for_once(here):
    assert features.probe() is here


def test_what_holds_was_seen_and_what_does_not_has_a_remedy(here, plain):
    for report in (here, plain):
        for found in report.layers:
            assert found.seen
            assert bool(found.remedy) == bool(found.reason) == (not found.holds)


def test_a_plain_user_is_probed_as_one(plain):
    assert plain.facts.uid != 0
    assert plain.facts.host_id_base is None


def test_a_plain_user_gets_namespaces_where_the_kernel_gives_them(plain):
    needs(plain, *LAYERS)
    assert plain.tiers == ("namespaces", "landlock", "process")
    assert plain.layer("user_namespace").seen == "nested twice, uid 1000 is the caller's id"
    assert plain.layer("not_dumpable").seen == "opening the own memory gave EACCES"


def test_root_gives_sessions_ids_of_their_own(here):
    if os.geteuid() != 0:
        pytest.skip("needs root")
    needs(here, "user_namespace")
    assert here.layer("user_namespace").seen == "nested twice, uid 1000 is a spare id of the host"
    assert here.facts.host_id_base is not None


def test_the_probe_and_the_engine_find_the_same_control_groups(here):
    found = cgroup.find()
    assert here.layer("cgroup").holds == (found is not None)
    if found is not None:
        assert (here.facts.cgroup_version, dict(here.facts.cgroup_parents)) == found


# ---- what is gone -------------------------------------------------------------------------------


def test_without_a_quota_of_user_namespaces_each_namespace_names_the_setting(here):
    needs(here, "user_namespace")
    report = probe_through(WITHOUT_QUOTA)
    missing = report.missing_for("namespaces")
    assert [found.layer for found in missing] == NAMESPACES
    assert {found.seen for found in missing} == {"unshare(CLONE_NEWUSER) gave ENOSPC"}
    assert {found.remedy for found in missing} == {"sudo sysctl -w user.max_user_namespaces=15000"}
    assert report.tiers == ("landlock", "process")


@pytest.mark.parametrize(
    ("calls", "error", "gone", "seen"),
    [
        (["unshare", "mount"], 1, NAMESPACES, "unshare(CLONE_NEWUSER) gave EPERM"),
        (["pivot_root"], 1, ["mount_namespace"], "pivot_root gave EPERM"),
        (["open_tree"], 38, ["mount_namespace"], "open_tree(OPEN_TREE_CLONE) gave ENOSYS"),
        (["landlock_create_ruleset"], 38, ["landlock"], "landlock_create_ruleset gave ENOSYS"),
        (["landlock_create_ruleset"], 95, ["landlock"], "landlock_create_ruleset gave EOPNOTSUPP"),
        (["capset"], 1, ["capabilities"], "capset gave EPERM"),
        (["seccomp"], 22, ["seccomp"], "seccomp gave EINVAL"),
    ],
)
def test_a_call_that_a_container_refuses_is_found_and_named(here, calls, error, gone, seen):
    needs(here, *LAYERS)
    report = probe_through(FILTERED, filter_of(calls, error))
    missing = report.missing_for("namespaces")
    assert [found.layer for found in missing] == gone
    assert {found.seen for found in missing} == {seen}
    assert all(found.remedy for found in missing)
    assert report.facts.inherited_filter


def test_a_limit_that_does_not_bite_is_no_layer(here):
    needs(here, "rlimits", "seccomp")
    # Answers success and does nothing: errno 0.
    report = probe_through(FILTERED, filter_of(["setrlimit", "prlimit64"], 0))
    (found,) = report.missing_for("process")
    assert found.layer == "rlimits"
    assert found.seen.startswith("setrlimit(RLIMIT_NOFILE) was accepted, but one descriptor more")


def test_capabilities_that_come_back_are_no_layer(here):
    needs(here, "capabilities", "seccomp")
    report = probe_through(FILTERED, filter_of(["capset"], 0))
    assert not report.layer("capabilities").holds
    assert report.layer("capabilities").seen.startswith("capset was accepted, but")


# ---- tries and children that misbehave ----------------------------------------------------------


def test_a_try_that_hangs_is_ended_and_does_not_hold(monkeypatch):
    monkeypatch.setattr(trial, "TRY_S", 0.05)
    ready, _write = os.pipe()
    answer = attempt(lambda _trial: str(os.read(ready, 1)))
    os.close(ready)
    os.close(_write)
    assert answer == Answer(False, "try", "", "no answer within 0.05 s")


def test_a_try_that_dies_does_not_hold():
    assert attempt(lambda _trial: os._exit(0)) == Answer(
        False, "try", "", "it ended without an answer"
    )


def test_an_error_that_nobody_expected_is_told_and_does_not_hold():
    def broken(_trial: Trial) -> str:
        raise KeyError("speed")

    assert attempt(broken) == Answer(False, "try", "KeyError", "the try raised KeyError: 'speed'")


def test_an_error_of_any_length_still_makes_an_answer():
    def broken(_trial: Trial) -> str:
        raise ValueError("\x00\udc80" * 10_000)

    answer = attempt(broken)
    assert (answer.holds, answer.error, len(answer.seen)) == (False, "ValueError", trial.SEEN_CAP)


def test_what_a_try_does_stays_in_its_child():
    def change(_trial: Trial) -> str:
        os.chdir("/")
        os.environ["LEFT_BY_A_TRY"] = "1"
        return "done"

    before = os.getcwd()
    assert attempt(change) == Answer(True, "", "", "done")
    assert (os.getcwd(), os.environ.get("LEFT_BY_A_TRY")) == (before, None)


def run(code: str, **options: float) -> object:
    return ask([sys.executable, "-I", "-S", "-B", "-c", code], **options)


def test_a_probe_that_hangs_is_given_up():
    started = time.monotonic()
    with pytest.raises(EngineTimeout) as caught:
        run("import signal; signal.pause()", timeout_s=0.2)
    assert 0.2 <= caught.value.waited_s <= time.monotonic() - started < 5


def test_a_probe_that_fails_is_quoted():
    with pytest.raises(EnvironmentFailed) as caught:
        run("raise SystemExit('no ctypes here')")
    assert caught.value.detail == "the feature probe ended with 1: no ctypes here"


def test_a_probe_that_floods_is_cut_off():
    with pytest.raises(EnvironmentFailed) as caught:
        run("import os; os.write(1, b'x' * 100_000)")
    assert caught.value.detail.endswith("it is longer than 65536 bytes")
    with pytest.raises(EnvironmentFailed) as caught:
        run("import sys; sys.stdout.write('x' * 10_000_000)")
    assert "Operation not permitted" in caught.value.detail


def test_a_probe_that_says_nothing_is_no_answer():
    with pytest.raises(EnvironmentFailed) as caught:
        run("pass")
    assert "gave no valid answer" in caught.value.detail


def test_an_interpreter_that_is_not_there_is_named():
    with pytest.raises(EnvironmentFailed) as caught:
        ask(command("/nowhere/python"))
    assert caught.value.interpreter == "/nowhere/python"
    assert caught.value.detail == "No such file or directory"


def test_the_probe_sees_nothing_of_the_callers_environment(monkeypatch):
    monkeypatch.setenv("CELLBLOCK_SECRET", "canary")
    monkeypatch.setenv("PYTHONPATH", "/nowhere")
    with pytest.raises(EnvironmentFailed) as caught:
        run("import os, sys; sys.exit(repr(sorted(os.environ)))")
    assert "CELLBLOCK_SECRET" not in caught.value.detail
    assert "PYTHONPATH" not in caught.value.detail
