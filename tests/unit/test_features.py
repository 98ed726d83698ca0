"""The decisions behind a feature report: pure functions over what a probe may answer."""

import json
from fnmatch import fnmatchcase
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.doctor import features
from sandbox.doctor.features import PROBED, Answers, FeatureReport, Try, judge, read
from sandbox.doctor.remedies import DOCKER, KUBERNETES, PODMAN, ROWS, Cause, Facts, Row, cause_of
from sandbox.errors import EnvironmentFailed, LayerUnavailable
from sandbox.guest.boot import launcher
from sandbox.guest.kernel.syscalls import NUMBERS
from sandbox.guest.probe import probe, probe_cgroup, trial
from sandbox.policy.lowering import FIRST_HOST_ID, LAYERS_OF
from sandbox.protocol.plan import LAYERS

NAMESPACES = tuple(layer for layer in LAYERS if layer.endswith("_namespace"))
NOTHING_ODD = Facts(
    kernel="6.8.0",
    machine="x86_64",
    python="3.12.3",
    interpreter="/usr/bin/python3",
    uid=1000,
    landlock_abi=7,
    cgroup_version=0,
    cgroup_parents=(),
    host_id_base=None,
    container="",
    inherited_filter=False,
    unprivileged_userns_clone=None,
    max_user_namespaces=96000,
    apparmor_restricts_userns=None,
)
HOLDS = Try(holds=True, call="", error="", seen="it did")
USER = "unshare(CLONE_NEWUSER)"


def facts(**changes: object) -> Facts:
    return NOTHING_ODD.model_copy(update=changes)


def refused(call: str, error: str) -> Try:
    return Try(holds=False, call=call, error=error, seen=f"{call} gave {error}")


def answers(known: Facts = NOTHING_ODD, **gaps: Try) -> Answers:
    return Answers(tries={layer: gaps.get(layer, HOLDS) for layer in PROBED}, facts=known)


def no_user_namespace(known: Facts, error: str = "EPERM") -> FeatureReport:
    return judge(answers(known, **dict.fromkeys(NAMESPACES, refused(USER, error))))


def remedy(call: str, error: str, known: Facts = NOTHING_ODD, layer: str = "cgroup") -> str:
    return cause_of(layer, call, error, known).remedy


# ---- tiers --------------------------------------------------------------------------------------


def test_where_everything_holds_every_tier_is_possible_and_nothing_needs_a_remedy():
    report = judge(answers())
    assert report.tiers == ("namespaces", "landlock", "process")
    assert [report.missing_for(tier) for tier in report.tiers] == [[], [], []]
    assert [(found.layer, found.reason, found.remedy) for found in report.layers] == [
        (layer, "", "") for layer in PROBED
    ]


def test_without_user_namespaces_landlock_is_the_strongest_tier():
    report = no_user_namespace(NOTHING_ODD)
    assert report.tiers == ("landlock", "process")
    missing = report.missing_for("namespaces")
    assert [found.layer for found in missing] == list(NAMESPACES)
    assert {found.seen for found in missing} == {"unshare(CLONE_NEWUSER) gave EPERM"}


def test_without_landlock_only_the_tier_that_trusts_its_code_is_left():
    gap = refused("landlock_create_ruleset", "EOPNOTSUPP")
    report = judge(answers(landlock=gap, landlock_scopes=gap))
    assert report.tiers == ("process",)
    assert [found.layer for found in report.missing_for("namespaces")] == ["landlock"]
    assert report.layer("landlock").reason == "Landlock is built in but not turned on at boot"


def test_where_nothing_holds_no_tier_is_possible():
    report = judge(answers(**dict.fromkeys(PROBED, refused("try", ""))))
    assert report.tiers == ()
    assert [found.layer for found in report.missing_for("namespaces")] == list(LAYERS)
    assert [found.layer for found in report.missing_for("process")] == [
        layer for layer in LAYERS if layer in LAYERS_OF["process"]
    ]


def test_a_missing_cgroup_or_scope_costs_no_tier():
    gap = refused("mkdir in version 1", "EACCES")
    scopes = refused("landlock_create_ruleset(scoped)", "EINVAL")
    report = judge(answers(cgroup=gap, landlock_scopes=scopes))
    assert report.tiers == ("namespaces", "landlock", "process")
    assert [found.layer for found in report.missing_among(PROBED)] == ["landlock_scopes", "cgroup"]


@given(st.sets(st.sampled_from(PROBED)))
def test_a_tier_is_possible_exactly_when_all_of_its_layers_hold(gone):
    report = judge(answers(**dict.fromkeys(gone, refused("try", ""))))
    for tier, layers in LAYERS_OF.items():
        assert (tier in report.tiers) == (not layers & gone)
        assert {found.layer for found in report.missing_for(tier)} == layers & gone


def test_what_is_missing_makes_an_error_that_says_what_to_do():
    (first, *_rest) = no_user_namespace(facts(unprivileged_userns_clone=0)).missing_for(
        "namespaces"
    )
    error = LayerUnavailable(first.layer, first.seen, first.remedy)
    assert str(error) == (
        "Layer 'user_namespace' is not available. Probe: unshare(CLONE_NEWUSER) gave EPERM."
        " sudo sysctl -w kernel.unprivileged_userns_clone=1."
    )


# ---- remedies -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("known", "error", "expected"),
    [
        (facts(unprivileged_userns_clone=0), "EPERM", "kernel.unprivileged_userns_clone=1"),
        (facts(max_user_namespaces=0), "ENOSPC", "user.max_user_namespaces=15000"),
        (facts(max_user_namespaces=0, uid=0), "ENOSPC", "user.max_user_namespaces=15000"),
        (facts(), "ENOSPC", "user.max_user_namespaces=100000"),
        (facts(), "EUSERS", "fewer levels down"),
        (facts(container="docker"), "EPERM", DOCKER),
        (facts(container="podman"), "EPERM", PODMAN),
        (facts(container="kubernetes"), "EPERM", "hostUsers: false"),
        (facts(container="docker", apparmor_restricts_userns=1), "EPERM", DOCKER),
        (facts(apparmor_restricts_userns=1), "EPERM", "profile cellblock /usr/bin/python3 flags"),
        (facts(inherited_filter=True), "EPERM", "RestrictNamespaces="),
        (facts(), "EPERM", "outside of the chroot"),
        (facts(), "EINVAL", "CONFIG_USER_NS"),
        (facts(), "ENOSYS", "CONFIG_USER_NS"),
    ],
)
def test_a_refused_user_namespace_has_a_remedy_for_its_cause(known, error, expected):
    for found in no_user_namespace(known, error).missing_for("namespaces"):
        assert expected in found.remedy


def test_apparmor_is_blamed_when_it_takes_the_capabilities_away():
    known = facts(apparmor_restricts_userns=1)
    for call in ("sethostname in a new user namespace", "mount(tmpfs)", "write(uid_map)"):
        cause = cause_of("user_namespace", call, "EPERM", known)
        assert cause.reason.startswith("AppArmor takes the capabilities away")
        assert "kernel.apparmor_restrict_unprivileged_userns=0" in cause.remedy
        assert "{ userns, }" in cause.remedy


def test_root_is_not_told_to_allow_what_is_refused_to_users_alone():
    known = facts(uid=0, unprivileged_userns_clone=0, apparmor_restricts_userns=1)
    cause = cause_of("user_namespace", USER, "EPERM", known)
    assert cause.reason == "the process is in a chroot, or a security module refuses it"


@pytest.mark.parametrize(
    ("container", "expected"),
    [
        ("docker", "systempaths=unconfined"),
        ("podman", "unmask=ALL"),
        ("kubernetes", "procMount: Unmasked"),
        ("", "findmnt -R /proc"),
    ],
)
def test_a_masked_proc_has_the_remedy_of_its_container(container, expected):
    for call in ("mount(proc)", "fsopen(proc, subset=pid)"):
        found = remedy(call, "EPERM", facts(container=container), "pid_namespace")
        assert expected in found


@pytest.mark.parametrize(
    ("layer", "call", "error", "known", "expected"),
    [
        ("pid_namespace", "fsopen(proc, subset=pid)", "EINVAL", {}, "Linux 5.8"),
        ("mount_namespace", "pivot_root", "EINVAL", {}, "switch_root"),
        ("mount_namespace", "mount_setattr(MOUNT_ATTR_RDONLY)", "ENOSYS", {}, "Linux 5.12"),
        ("mount_namespace", "mount(tmpfs)", "EACCES", {"uid": 0}, "journalctl"),
        ("net_namespace", "unshare(CLONE_NEWNET)", "EINVAL", {}, "CONFIG_NET_NS"),
        ("net_namespace", "unshare(CLONE_NEWNET)", "ENOSPC", {}, "max_*_namespaces"),
        ("user_namespace", "write(uid_map)", "ERANGE", {"uid": 0}, "65536 ids"),
        ("landlock", "landlock_create_ruleset", "EOPNOTSUPP", {}, "lsm=landlock"),
        ("landlock", "landlock_create_ruleset", "ENOSYS", {}, "CONFIG_SECURITY_LANDLOCK=y"),
        ("landlock", "landlock_create_ruleset", "EPERM", {"inherited_filter": True}, "seccomp="),
        ("landlock_scopes", "landlock_create_ruleset(scoped)", "E2BIG", {}, "Linux 6.12"),
        ("seccomp", "seccomp", "EINVAL", {}, "CONFIG_SECCOMP_FILTER=y"),
        ("rlimits", "setrlimit(RLIMIT_DATA)", "EPERM", {}, "@resources"),
        ("cgroup", "find", "", {}, "mount -t cgroup2"),
        ("cgroup", "controllers", "", {}, "systemd.unified_cgroup_hierarchy=1"),
        ("cgroup", "mkdir in version 2", "EROFS", {}, "--cgroupns=private"),
        ("cgroup", "mkdir in version 1", "EACCES", {}, "Run as root"),
        ("cgroup", "mkdir in version 2", "EACCES", {}, "systemd-run --user -p Delegate=yes"),
        ("cgroup", "cgroup.subtree_control", "", {"uid": 0}, "systemd-run -p Delegate=yes"),
        ("capabilities", "try", "", {}, "doctor` again"),
        ("no_new_privs", "prctl(PR_SET_NO_NEW_PRIVS)", "ENOSYS", {}, "kernel of your own"),
    ],
)
def test_each_gap_has_the_remedy_of_its_cause(layer, call, error, known, expected):
    assert expected in remedy(call, error, facts(**known), layer)


@given(
    st.sampled_from(PROBED),
    st.sampled_from([*sorted({row.call for row in ROWS}), USER, "a new call"]),
    st.sampled_from(["", "EPERM", "EACCES", "EINVAL", "ENOSYS", "ENOSPC", "EIO", "EROFS"]),
    st.builds(
        facts,
        uid=st.sampled_from([0, 1000]),
        container=st.sampled_from(["", "docker", "podman", "kubernetes", "systemd-nspawn"]),
        inherited_filter=st.booleans(),
        unprivileged_userns_clone=st.sampled_from([None, 0, 1]),
        max_user_namespaces=st.sampled_from([None, 0, 96000]),
        apparmor_restricts_userns=st.sampled_from([None, 0, 1]),
    ),
)
def test_no_gap_is_left_without_a_reason_and_a_remedy(layer, call, error, known):
    cause = cause_of(layer, call, error, known)
    assert cause.reason
    assert cause.remedy
    assert "{interpreter}" not in cause.remedy
    assert "{{" not in cause.remedy


def test_every_row_of_the_table_can_be_the_one_that_decides():
    def sample(pattern: str, choices: list[str]) -> list[str]:
        return [name for name in choices if fnmatchcase(name, pattern)] or [pattern]

    known = [
        facts(**changes)
        for changes in (
            {},
            {"uid": 0},
            {"container": "docker"},
            {"container": "podman"},
            {"container": "kubernetes"},
            {"inherited_filter": True},
            {"unprivileged_userns_clone": 0},
            {"max_user_namespaces": 0},
            {"apparmor_restricts_userns": 1},
        )
    ]
    calls = [USER, "mount(proc)", "mount(tmpfs)", "unshare(CLONE_NEWNET)", "write(uid_map)", "try"]
    calls += ["mkdir in version 1", "mkdir in version 2", "setrlimit(RLIMIT_DATA)", "a new call"]

    def decides(row: Row) -> bool:
        cause = Cause(row.reason, row.remedy.format(interpreter=NOTHING_ODD.interpreter))
        errors = ["EPERM", "", *row.errors.replace("*", "EIO").split()]
        return any(
            cause_of(*refusal) == cause
            for refusal in product(
                sample(row.layer, list(PROBED)), sample(row.call, calls), errors, known
            )
        )

    assert [row for row in ROWS if not decides(row)] == []


def test_kubernetes_gets_yaml_with_single_braces():
    assert "{{type: Unconfined}}" in KUBERNETES
    found = remedy(USER, "EPERM", facts(container="kubernetes"), "user_namespace")
    assert "seccompProfile: {type: Unconfined}" in found


# ---- reading an answer --------------------------------------------------------------------------


def test_an_answer_is_read_back_as_it_was_printed():
    sent = answers(facts(cgroup_version=1, cgroup_parents=(("memory", "/sys/fs/cgroup/memory"),)))
    assert read(sent.model_dump_json().encode() + b"\n", interpreter="python") == sent


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda raw: raw["tries"].pop("seccomp"), "layers are missing or unknown: seccomp"),
        (lambda raw: raw["tries"].update(aura=raw["tries"]["seccomp"]), "unknown: aura"),
        (lambda raw: raw["tries"]["seccomp"].update(holds="yes"), "tries.seccomp.holds"),
        (lambda raw: raw["tries"]["seccomp"].update(holds=1), "tries.seccomp.holds"),
        (lambda raw: raw["tries"]["seccomp"].pop("holds"), "tries.seccomp.holds"),
        (lambda raw: raw["tries"]["seccomp"].update(seen="x" * 1001), "tries.seccomp.seen"),
        (lambda raw: raw["facts"].pop("uid"), "facts.uid"),
        (lambda raw: raw["facts"].update(mood="good"), "facts.mood"),
        (lambda raw: raw["facts"].update(kernel="x" * 70_000), "longer than 65536 bytes"),
    ],
)
def test_an_answer_with_one_field_wrong_is_refused_by_name(change, problem):
    raw = json.loads(answers().model_dump_json())
    change(raw)
    with pytest.raises(EnvironmentFailed) as caught:
        read(json.dumps(raw).encode(), interpreter="/usr/bin/python3")
    assert caught.value.interpreter == "/usr/bin/python3"
    assert problem in caught.value.detail


@given(st.binary(max_size=200))
def test_garbage_is_never_an_answer(garbage):
    with pytest.raises(EnvironmentFailed):
        read(garbage, interpreter="python")


def test_the_probe_is_started_isolated_and_with_the_package_last_on_its_path():
    interpreter, *options, code, packages = features.command("/usr/bin/python3")
    assert (interpreter, options) == ("/usr/bin/python3", ["-I", "-S", "-B", "-c"])
    assert "sys.path.append(sys.argv[1])" in code
    assert "sandbox.guest.probe.probe" in code
    assert features.__file__ == f"{packages}/sandbox/doctor/features.py"


# ---- both sides agree ---------------------------------------------------------------------------


def test_the_probe_tries_every_layer_that_a_plan_can_ask_for():
    assert tuple(row.layer for row in probe.TRIES) == PROBED


def test_host_and_guest_know_the_same_machines_and_ids():
    assert set(features.MACHINES) == set(NUMBERS)
    assert trial.ID_COUNT == launcher.ID_COUNT
    assert trial.ID_BASE == FIRST_HOST_ID


# ---- spare ids ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("own_map", "first"),
    [
        ("         0          0 4294967295\n", 1_000_000),
        ("0 100000 65536\n", 65_536 - trial.ID_COUNT - 2),
        ("0 1000 1\n1 100000 65536\n", 1 + 65_536 - trial.ID_COUNT - 2),
        ("0 1000 1\n", None),
        (f"0 100000 {trial.ID_COUNT}\n", None),
        (f"0 100000 {trial.ID_COUNT + 3}\n", 1),
        ("0 0 500000\n500000 500000 520000\n", 439_898),
        ("", None),
    ],
)
def test_spare_ids_are_found_above_the_callers_own(own_map, first):
    assert trial.spare_ids(own_map) == first


@given(
    st.lists(
        st.tuples(st.integers(0, 2**31), st.integers(0, 2**31), st.integers(1, 2**31)), max_size=4
    )
)
def test_spare_ids_always_lie_within_one_row_and_never_include_the_first(rows):
    own_map = "".join("{:>10} {:>10} {:>10}\n".format(*row) for row in rows)
    first = trial.spare_ids(own_map)
    assert first is None or any(
        first > 0 and inside <= first and first + trial.ID_COUNT <= inside + count
        for inside, _outside, count in rows
    )


# ---- cgroups -----------------------------------------------------------------------------

UNIFIED = "35 24 0:30 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n"
SPLIT = (
    "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755\n"
    "35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
    "39 31 0:36 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n"
    "33 31 0:30 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
)


def test_the_own_group_is_found_in_version_2():
    (place,) = probe_cgroup.places("0::/user.slice/app.scope\n", UNIFIED)
    assert place == (2, "all", "/sys/fs/cgroup/user.slice/app.scope", "/sys/fs/cgroup")


def test_controllers_of_version_1_are_found_even_where_two_share_a_hierarchy():
    own = "6:memory:/job\n4:pids:/\n2:cpu,cpuacct:/job\n1:name=systemd:/job\n0::/\n"
    found = {place.controller: place.path for place in probe_cgroup.places(own, SPLIT)}
    assert found == {
        "memory": "/sys/fs/cgroup/memory/job",
        "pids": "/sys/fs/cgroup/pids",
        "cpu": "/sys/fs/cgroup/cpu,cpuacct/job",
        "cpuacct": "/sys/fs/cgroup/cpu,cpuacct/job",
    }


def test_a_container_that_sees_its_own_group_as_the_mounts_root_is_found_there():
    mounts = "50 49 0:30 /docker/abc /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n"
    (place,) = probe_cgroup.places("6:memory:/docker/abc\n", mounts)
    assert place.path == "/sys/fs/cgroup/memory"
    (place,) = probe_cgroup.places("6:memory:/docker/abc/job\n", mounts)
    assert place.path == "/sys/fs/cgroup/memory/job"


@pytest.mark.parametrize("own", ["0::/docker/abcdef\n", "0::/other\n", "0::/../outside\n"])
def test_a_group_outside_of_what_is_mounted_is_not_taken(own):
    mounts = "50 49 0:30 /docker/abc /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n"
    assert probe_cgroup.places(own, mounts) == []
    assert probe_cgroup.places("0::/../outside\n", UNIFIED) == []


@pytest.mark.parametrize(
    ("own_has", "above_has", "above_is_top", "expected"),
    [
        ("cpu io memory pids", "", False, "own"),
        ("", "cpu memory pids", True, "above"),
        ("memory pids", "cpu memory pids", True, "above"),
        ("", "cpu memory pids", False, None),
        ("", "memory pids", True, None),
        ("", "", True, None),
    ],
)
def test_groups_are_made_where_controllers_are_handed_on(
    tmp_path, own_has, above_has, above_is_top, expected
):
    above = tmp_path / "above"
    own = above / "own"
    own.mkdir(parents=True)
    (above / "cgroup.type").write_text("domain\n")
    (above / "cgroup.subtree_control").write_text(above_has + "\n")
    (own / "cgroup.subtree_control").write_text(own_has + "\n")
    place = probe_cgroup.Place(2, "all", str(own), str(above if above_is_top else tmp_path))
    if expected is None:
        with pytest.raises(trial.Refused) as caught:
            probe_cgroup.delegated(place)
        assert caught.value.call == "cgroup.subtree_control"
        return
    assert probe_cgroup.delegated(place) == str({"own": own, "above": above}[expected])
