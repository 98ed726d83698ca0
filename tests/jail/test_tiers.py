"""What holds in each tier is told, and a tier that cannot be had is refused with a remedy."""

import pytest

from sandbox import LayerUnavailable, Policy, Sandbox, Session
from sandbox.policy.lowering import LAYERS_OF
from sandbox.protocol.plan import LAYERS
from tests.jail.corpus import Tier
from tests.jail.hosts import run_host


def test_a_session_and_its_outcomes_name_the_tier_and_the_layers(
    session: Session, tier: Tier
) -> None:
    wanted = tuple(layer for layer in LAYERS if layer in LAYERS_OF[tier])
    outcome = session.run("1")
    assert session.enforcement == outcome.layers == wanted
    assert outcome.tier == tier


def test_the_full_tier_is_the_default() -> None:
    with Sandbox(pool_size=0) as box:
        outcome = box.run("1")
    assert (outcome.tier, outcome.layers) == ("namespaces", LAYERS)


def test_the_process_tier_must_be_written_out_and_keeps_limits_and_survival() -> None:
    with Sandbox(Policy(tier="process"), pool_size=0) as box, box.session() as session:
        outcome = session.run("import wave, os\nx = 1")
        assert (outcome.status, outcome.tier) == ("completed", "process")
        assert outcome.layers == ("rlimits", "import_policy")
        assert session.run("x = 2\nos._exit(1)").state == "rolled_back"
        assert session.run("x").text == "1"


def test_what_the_kernel_confirms_from_inside(session: Session, tier: Tier) -> None:
    session.run(
        "import ctypes, os, resource\n"
        "prctl = ctypes.CDLL(None).prctl\n"
        "def asked(option): return prctl(option, 0, 0, 0, 0)"
    )
    # no_new_privs, dumpable, seccomp: prctl(2).
    assert session.run("asked(39), asked(3), asked(21)").text == "(1, 0, 2)"
    if tier == "namespaces":
        assert session.run("os.getuid(), os.uname().nodename").text == "(1000, 'cellblock')"
        assert session.run("os.getpid() < 10").text == "True"


NO_USER_NAMESPACES = """
import ctypes, json, os
libc = ctypes.CDLL(None, use_errno=True)
uid, gid = os.getuid(), os.getgid()
assert libc.unshare(0x10000000) == 0
for name, line in (("setgroups", "deny"), ("uid_map", f"{uid} {uid} 1"),
                   ("gid_map", f"{gid} {gid} 1")):
    open(f"/proc/self/{name}", "w").write(line)
# A limit of this user namespace and of those below it: user_namespaces(7).
open("/proc/sys/user/max_user_namespaces", "w").write("0")
from sandbox import LayerUnavailable, Policy, Sandbox
box = Sandbox(Policy(tier="namespaces"), pool_size=0)
try:
    box.run("1")
except LayerUnavailable as error:
    refused = [error.layer, bool(error.probe), bool(error.remedy)]
else:
    refused = ["none"]
box.close()
print(json.dumps(refused))
"""


def test_a_missing_layer_is_refused_with_its_remedy_and_nothing_weaker_is_run() -> None:
    refusal = run_host(NO_USER_NAMESPACES)
    assert refusal in (["user_namespace", True, True], ["user namespace", True, True])


def test_a_session_that_cannot_be_jailed_is_refused_and_the_next_one_is_fine(tier: Tier) -> None:
    with Sandbox(Policy(tier=tier), pool_size=0) as box:
        zygote = box._box._supply.zygote
        assert zygote is not None
        with pytest.MonkeyPatch.context() as patch:
            # A directory that does not exist: a step fails after the fork.
            patch.setattr(zygote, "_directory", "/no/such/place")
            patch.setattr(zygote, "_make_directory", lambda _number: "/no/such/place")
            with pytest.raises(LayerUnavailable):
                box.run("1")
        assert box.run("1").text == "1"
