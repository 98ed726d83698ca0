"""Errors: facts as attributes, a message that says what failed, what was seen, what to do."""

import copy
import pickle
from datetime import UTC, datetime

import pytest

from sandbox import errors
from sandbox.errors import SandboxError

NOON = datetime(2030, 1, 2, 12, 0, 0, tzinfo=UTC)
CASES = [
    (
        errors.PolicyError("limits.wall_s", "is -1", "It must be greater than 0", source="a.toml"),
        {"field": "limits.wall_s", "problem": "is -1", "source": "a.toml"},
        "a.toml: limits.wall_s: is -1. It must be greater than 0.",
    ),
    (
        errors.ValueNotCarried("frame", "there is no such variable", "Set it first"),
        {"name": "frame", "problem": "there is no such variable"},
        "frame: there is no such variable. Set it first.",
    ),
    (
        errors.FileRefused("../a", "the name leads out of the workspace", "Use a plain name"),
        {"path": "../a", "reason": "the name leads out of the workspace"},
        "File '../a' was refused: the name leads out of the workspace. Use a plain name.",
    ),
    *(
        (kind("a", "no"), {"path": "a", "reason": "no"}, "File 'a' was refused: no.")
        for kind in errors.FileRefused.__subclasses__()
    ),
    (
        errors.RemoteFailed("host:80", "it broke", "Try again", status=502),
        {"server": "host:80", "problem": "it broke", "status": 502},
        "host:80 answered 502: it broke. Try again.",
    ),
    (
        errors.ServerBusy("host:80", "All code sandboxes are in use.", 2.5),
        {"server": "host:80", "retry_after_s": 2.5, "live": 0},
        "host:80: All code sandboxes are in use. Try again in 2.5 s.",
    ),
    (
        errors.NotRemote("popen", "Use exec"),
        {"what": "popen"},
        "popen is not possible over HTTP. Use exec.",
    ),
    (
        errors.FileNotThere("a", "it is so"),
        {"path": "a", "reason": "it is so", "kind": "not_found"},
        "File 'a' was refused: it is so.",
    ),
    (
        errors.FileIsThere("a", "it is so"),
        {"path": "a", "reason": "it is so", "kind": "exists"},
        "File 'a' was refused: it is so.",
    ),
    (
        errors.FileIsDirectory("a", "it is so"),
        {"path": "a", "reason": "it is so", "kind": "is_directory"},
        "File 'a' was refused: it is so.",
    ),
    (
        errors.FileNotDirectory("a", "it is so"),
        {"path": "a", "reason": "it is so", "kind": "not_directory"},
        "File 'a' was refused: it is so.",
    ),
    (
        errors.FileNotPermitted("a", "it is so"),
        {"path": "a", "reason": "it is so", "kind": "not_permitted"},
        "File 'a' was refused: it is so.",
    ),
    (
        errors.NoRoomForFile("a", "it is so"),
        {"path": "a", "reason": "it is so", "kind": "no_room"},
        "File 'a' was refused: it is so.",
    ),
    (
        errors.PackagesNotInstalled(["a==1"], "offline", "no index", "Give find_links"),
        {"packages": ("a==1",), "problem": "offline", "detail": "no index"},
        "Packages a==1 were not installed: no index. Give find_links.",
    ),
    (
        errors.LayerUnavailable("user namespace", "unshare gave EPERM", "Ask for less"),
        {"layer": "user namespace", "probe": "unshare gave EPERM", "remedy": "Ask for less"},
        "Layer 'user namespace' is not available. Probe: unshare gave EPERM. Ask for less.",
    ),
    (
        errors.EnvironmentFailed("/py", "no such file", remedy="Name another"),
        {"interpreter": "/py", "module": "", "detail": "no such file"},
        "Interpreter '/py' cannot be used: no such file. Name another.",
    ),
    (
        errors.EnvironmentFailed("/py", "ImportError: x", module="pandas"),
        {"interpreter": "/py", "module": "pandas"},
        "Preloading 'pandas' with /py failed: ImportError: x.",
    ),
    (
        errors.ZygoteDied("exit status 3", step="root", said="mount: no", remedy="Try again"),
        {"ending": "exit status 3", "step": "root", "said": "mount: no"},
        "The zygote died at step 'root': exit status 3. It said: mount: no. Try again.",
    ),
    (
        errors.EngineTimeout("the start of a worker", 30.0),
        {"step": "the start of a worker", "waited_s": 30.0},
        "The engine gave up on the start of a worker after 30 s."
        " Try again; if it repeats, the machine is overloaded.",
    ),
    (
        errors.PoolFull(1.5, live=4, waiting=9),
        {"retry_after_s": 1.5, "live": 4, "waiting": 9},
        "The pool is full: 4 sessions live, 9 calls waiting."
        " Try again in 1.5 s, or raise the pool's size.",
    ),
    (
        errors.StaleProcess("Sandbox", made_in=10, used_in=11),
        {"what": "Sandbox", "made_in": 10, "used_in": 11},
        "Sandbox was made in process 10 and used in process 11."
        " Its workers belong to the first: make a new one after the fork.",
    ),
    (
        errors.SessionClosed("sandbox"),
        {"what": "sandbox"},
        "The sandbox is closed. Open a new one.",
    ),
    (
        errors.SessionClosed(was_opened=False),
        {"what": "session"},
        "The session was never opened. Write `async with box.session() as session:`, or"
        " `session = await box.session()`.",
    ),
    (
        errors.SessionLost("it was killed", NOON),
        {"why": "it was killed", "when": NOON},
        "The session was lost at 2030-01-02 12:00:00+00:00: it was killed."
        " Its variables and files are gone; open a new session.",
    ),
    (
        errors.SessionExpired("idle for 20 min", NOON),
        {"why": "idle for 20 min", "when": NOON},
        "The session expired at 2030-01-02 12:00:00+00:00: idle for 20 min."
        " Its variables are gone, its files stay for the retention time; open a new session.",
    ),
    (
        errors.GuestFault("kind 9 is no message"),
        {"fault": "kind 9 is no message"},
        "The guest broke the protocol and its session was ended: kind 9 is no message."
        " Open a new session.",
    ),
    (
        errors.CopyRefused("the session has live Python threads"),
        {"why": "the session has live Python threads"},
        "The session cannot be copied: the session has live Python threads. End that first, or"
        " go on without a copy.",
    ),
    (
        errors.BranchesTooDeep(29),
        {
            "generation": 29,
            "why": "it is 29 branches away from its first session, and the kernel makes no"
            " namespaces below its own, which nest 32 deep at most",
        },
        "The session cannot be copied: it is 29 branches away from its first session, and the"
        " kernel makes no namespaces below its own, which nest 32 deep at most. Branch a session"
        " nearer to the first one, or take what is needed to a new session. With few branches,"
        " raise user.max_user_namespaces and user.max_pid_namespaces.",
    ),
    (
        errors.CheckpointDropped("3", "its process is gone"),
        {"checkpoint": "3", "why": "its process is gone"},
        "Checkpoint 3 was dropped: its process is gone. Take a new checkpoint.",
    ),
]


@pytest.mark.parametrize(("error", "facts", "message"), CASES)
def test_an_error_has_its_facts_and_builds_its_message_from_them(error, facts, message):
    assert str(error) == message
    assert {name: getattr(error, name) for name in facts} == facts


@pytest.mark.parametrize("error", [case[0] for case in CASES])
@pytest.mark.parametrize("again", [copy.copy, lambda error: pickle.loads(pickle.dumps(error))])
def test_an_error_survives_copy_and_pickle_with_its_facts(error, again):
    other = again(error)
    assert type(other) is type(error)
    assert str(other) == str(error)
    assert vars(other) == vars(error)


def test_every_error_of_the_module_is_a_sandbox_error_and_tried_here():
    classes = {
        value
        for value in vars(errors).values()
        if isinstance(value, type) and issubclass(value, Exception)
    }
    assert all(issubclass(cls, SandboxError) for cls in classes)
    bases = {SandboxError, errors.SessionError}
    assert classes - bases == {type(case[0]) for case in CASES}


def test_bad_input_is_a_value_error_too():
    assert issubclass(errors.PolicyError, ValueError)
    assert issubclass(errors.FileRefused, ValueError)


def test_an_error_can_be_said_to_come_from_a_file():
    error = errors.PolicyError("tier", "is 'vm'").in_source("policy.toml")
    assert (error.source, str(error)) == ("policy.toml", "policy.toml: tier: is 'vm'.")
