"""Lowering: what a plan shows, caps and asks for; a stricter policy never widens it."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.errors import EnvironmentFailed, PolicyError
from sandbox.network.access import NetworkAccess
from sandbox.network.secrets import Secret
from sandbox.policy.environment import Environment, discover
from sandbox.policy.limits import GiB, Limits, MiB
from sandbox.policy.lowering import CHILD_PATH, COPYING_PROCESSES, LAYERS_OF, Host, lower
from sandbox.policy.policy import ImportPolicy, Mount, Policy
from sandbox.protocol.plan import (
    CHECKPOINTS_CAP,
    ENGINE_PROCESSES,
    LAYERS,
    Bind,
    ImportRule,
    JailPlan,
)

ROOT = Host(is_root=True, pid=1234, cpus=2)
USER = Host(is_root=False, pid=1234, cpus=2)
PRIVATE = ("/", "/proc", "/sys", "/dev", "/home", "/root", "/etc", "/run", "/var", "/tmp")


def installed_in(prefix: Path, **changes: object) -> Environment:
    """An environment with an interpreter made of empty files below `prefix`."""
    interpreter = prefix / "bin" / "python3"
    interpreter.parent.mkdir(parents=True, exist_ok=True)
    interpreter.write_text("")
    (prefix / "lib" / "python3.12").mkdir(parents=True, exist_ok=True)
    facts = {
        "interpreter": str(interpreter),
        "version": (3, 12, 0),
        "prefix": str(prefix),
        "base_prefix": str(prefix),
        "sys_path": (str(prefix / "lib" / "python3.12"),),
        "links": (str(interpreter),),
    }
    return Environment(**{**facts, **changes})


def shown(plan: JailPlan) -> dict[str, Bind]:
    return {bind.target: bind for bind in plan.binds}


# ---- the plan as a whole ------------------------------------------------------------------------


@pytest.mark.parametrize("tier", ["namespaces", "landlock", "process"])
@pytest.mark.parametrize("imports", ["open", "data", "pure"])
@pytest.mark.parametrize("host", [ROOT, USER])
def test_a_plan_comes_back_from_json_as_it_was(tier, imports, host):
    plan = lower(Policy(tier=tier, imports=imports, env={"A": "é\n"}), discover(), host)
    assert JailPlan.from_json(plan.to_json()) == plan


def test_each_tier_asks_for_its_layers_in_their_order():
    reduced = ("rlimits", "capabilities", "no_new_privs", "not_dumpable")
    expected = {
        "namespaces": LAYERS,
        "landlock": (*reduced, "landlock", "seccomp", "import_policy"),
        "process": ("rlimits", "import_policy"),
    }
    for tier, layers in expected.items():
        assert lower(Policy(tier=tier), discover()).layers == layers


def test_limits_become_caps():
    limits = Limits(
        memory_bytes=GiB, processes=10, open_files=99, workspace_bytes=64 * MiB, workspace_files=77
    )
    plan = lower(Policy(limits=limits), discover(), ROOT)
    assert (plan.memory_bytes, plan.processes, plan.shm_bytes) == (GiB, 10, GiB // 2)
    assert (plan.workspace_bytes, plan.workspace_files) == (64 * MiB, 77)
    assert plan.rlimits.data_bytes == GiB + 512 * MiB
    assert plan.rlimits.file_bytes == 64 * MiB
    assert plan.rlimits.open_files == 99
    assert plan.rlimits.stack_bytes == 8 * MiB
    assert plan.rlimits.processes == (10 + ENGINE_PROCESSES + COPYING_PROCESSES + CHECKPOINTS_CAP)


def test_processes_are_not_counted_where_the_users_own_would_be_too():
    assert lower(Policy(tier="landlock"), discover(), USER).rlimits.processes is None
    assert lower(Policy(tier="landlock"), discover(), ROOT).rlimits.processes is not None
    assert lower(Policy(), discover(), USER).rlimits.processes is not None


def test_a_network_by_name_is_a_proxy_and_the_variables_that_lead_to_it():
    policy = Policy(
        network=["pypi.org:443"], secrets={"KEY": Secret("the-real-value", hosts=["pypi.org"])}
    )
    access = NetworkAccess(policy.network, policy.secrets)
    try:
        plan = lower(policy, discover(), access=access)
    finally:
        access.close()
    variables = dict(plan.env)
    assert plan.listen_ports == (3128,)
    assert variables["HTTPS_PROXY"] == variables["http_proxy"] == "http://127.0.0.1:3128"
    assert variables["KEY"].startswith("cellblock-secret-")
    assert variables["SSL_CERT_FILE"] in [bind.target for bind in plan.binds]
    assert "the-real-value" not in plan.to_json().decode()


def test_without_a_network_a_plan_has_no_proxy():
    assert lower(Policy(), discover()).listen_ports == ()
    with pytest.raises(PolicyError, match="network"):
        lower(Policy(network=["pypi.org:443"]), discover())


def test_rules_of_the_policy_are_the_plans():
    rules = [ImportRule("a", "refuse", "why", "b"), ImportRule("*", "log", "")]
    plan = lower(Policy(imports=ImportPolicy(rules=rules, default="kill")), discover())
    assert plan.import_rules == tuple(rules)
    assert plan.import_default == "kill"


# ---- ids ----------------------------------------------------------------------------------------


@given(pid=st.integers(1, 2**22))
def test_ids_of_a_host_process_fit_below_the_last_id_and_above_the_users(pid):
    base = lower(Policy(), discover(), Host(is_root=True, pid=pid, cpus=1)).host_id_base
    assert base is not None
    assert 1_000_000 <= base <= base + 65_536 < 2**32 - 2


@given(pid=st.integers(1, 2**22), step=st.integers(1, 29_999))
def test_two_host_processes_do_not_share_ids(pid, step):
    first, second = (
        lower(Policy(), discover(), Host(is_root=True, pid=number, cpus=1)).host_id_base
        for number in (pid, pid + step)
    )
    assert first is not None
    assert second is not None
    assert abs(first - second) >= 65_536


def test_a_plain_user_has_no_ids_to_give():
    plan = lower(Policy(), discover(), USER)
    assert (plan.host_id_base, plan.shared_host_id) == (None, None)


def test_sessions_share_one_id_only_where_they_write_to_the_host(tmp_path):
    def plan(access: str, host: Host) -> JailPlan:
        mounts = [Mount(host=tmp_path, target="/data", access=access)]
        return lower(Policy(mounts=mounts), discover(), host)

    writing = plan("rw", ROOT)
    assert writing.shared_host_id == writing.host_id_base + 1
    assert plan("ro", ROOT).shared_host_id is None
    assert plan("rw", USER).shared_host_id is None


# ---- variables ----------------------------------------------------------------------------------


def test_a_guest_has_a_fixed_set_of_variables_and_nothing_of_the_hosts(monkeypatch):
    monkeypatch.setenv("SECRET_TOKEN", "x")
    environment = discover()
    assert dict(lower(Policy(), environment, ROOT).env) == {
        "PATH": f"{os.path.dirname(environment.interpreter)}:/usr/local/bin:/usr/bin:/bin",
        "HOME": "/tmp/home",
        "TMPDIR": "/tmp",
        "USER": "cellblock",
        "LANG": "C.UTF-8",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONPATH": f"{CHILD_PATH}:/tmp/home/.packages",
        "MPLBACKEND": "Agg",
        "MALLOC_ARENA_MAX": "2",
        "MIMALLOC_ARENA_EAGER_COMMIT": "0",
        "NUMBA_THREADING_LAYER": "workqueue",
        "OMP_NUM_THREADS": "2",
        "OPENBLAS_NUM_THREADS": "2",
        "MKL_NUM_THREADS": "2",
        "NUMEXPR_NUM_THREADS": "2",
    }


def test_a_hash_seed_is_a_variable_of_the_guest_too():
    assert dict(lower(Policy(hash_seed=7), discover(), ROOT).env)["PYTHONHASHSEED"] == "7"


def test_a_variable_of_the_policy_wins():
    plan = lower(Policy(env={"OMP_NUM_THREADS": "1", "TZ": "CET"}), discover(), ROOT)
    assert dict(plan.env)["OMP_NUM_THREADS"] == "1"
    assert dict(plan.env)["TZ"] == "CET"


# ---- paths --------------------------------------------------------------------------------------


def test_this_host_is_shown_read_only_and_never_a_private_directory():
    plan = lower(Policy(), discover(), ROOT)
    assert {bind.access for bind in plan.binds} == {"ro"}
    private = {*PRIVATE, os.path.expanduser("~")}
    assert not private & {bind.source for bind in plan.binds}
    assert not private & {bind.target for bind in plan.binds}
    secrets = {"/etc/passwd", "/etc/shadow", "/etc/hosts", "/etc/hostname", "/etc/machine-id"}
    assert not secrets & set(shown(plan))


def test_every_path_that_python_needs_is_shown_where_it_is():
    environment = discover()
    targets = set(shown(lower(Policy(), environment, ROOT)))
    needed = [environment.prefix, environment.base_prefix, "/usr", *environment.sys_path]
    for path in needed:
        assert any(path == target or path.startswith(target + "/") for target in targets), path


def test_parents_come_first_and_nothing_is_shown_twice():
    targets = [bind.target for bind in lower(Policy(), discover(), ROOT).binds]
    assert targets == sorted(targets, key=lambda target: target.split("/"))
    assert not [
        (outer, inner) for outer in targets for inner in targets if inner.startswith(outer + "/")
    ]


def test_links_of_the_host_root_are_left_for_the_jail_to_make():
    targets = shown(lower(Policy(), discover(), ROOT))
    for path in ("/lib", "/lib64", "/bin", "/sbin"):
        assert (path in targets) == (os.path.isdir(path) and not os.path.islink(path))


def test_a_virtual_environment_shows_itself_its_base_and_packages_elsewhere(tmp_path):
    base, venv, project = tmp_path / "base", tmp_path / "venv", tmp_path / "project"
    project.mkdir()
    installed_in(base)
    environment = installed_in(
        venv, base_prefix=str(base), sys_path=(str(base / "lib"), str(project))
    )
    targets = set(shown(lower(Policy(), environment, ROOT)))
    assert {str(base), str(venv), str(project)} <= targets
    assert str(base / "lib") not in targets


def test_a_directory_that_only_a_link_of_the_interpreter_names_is_shown(tmp_path):
    installed_in(tmp_path / "3.12.4")
    (tmp_path / "3.12").symlink_to("3.12.4")
    through = f"{tmp_path}/3.12/bin/python3"
    venv = tmp_path / "venv"
    environment = installed_in(
        venv,
        base_prefix=str(tmp_path / "3.12.4"),
        links=(str(venv / "bin" / "python3"), through, f"{tmp_path}/3.12.4/bin/python3"),
    )
    binds = shown(lower(Policy(), environment, ROOT))
    assert binds[f"{tmp_path}/3.12"].source == f"{tmp_path}/3.12.4"
    assert binds[f"{tmp_path}/3.12.4"].source == f"{tmp_path}/3.12.4"


def test_a_link_inside_an_installation_has_its_end_shown(tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    environment = installed_in(tmp_path / "py")
    link = tmp_path / "py" / "lib" / "packages"
    link.symlink_to(elsewhere)
    environment = environment.model_copy(update={"sys_path": (str(link),)})
    binds = shown(lower(Policy(), environment, ROOT))
    assert binds[str(elsewhere)].source == str(elsewhere)
    assert str(link) not in binds


def test_of_an_interpreter_in_a_home_directory_only_its_parts_are_shown(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "secret.txt").write_text("x")
    environment = installed_in(tmp_path)
    targets = set(shown(lower(Policy(), environment, ROOT)))
    assert {f"{tmp_path}/bin", f"{tmp_path}/lib"} <= targets
    assert str(tmp_path) not in targets


def test_a_home_directory_on_the_module_path_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    environment = installed_in(tmp_path / "py", sys_path=(str(tmp_path),))
    with pytest.raises(EnvironmentFailed, match="would show private files"):
        lower(Policy(), environment, ROOT)


# ---- mounts -------------------------------------------------------------------------------------


def refused_mount(
    *mounts: Mount, tier: str = "namespaces", environment: Environment | None = None
) -> PolicyError:
    with pytest.raises(PolicyError) as caught:
        lower(Policy(tier=tier, mounts=list(mounts)), environment or discover(), ROOT)
    return caught.value


def test_a_mount_is_bound_from_behind_its_links(tmp_path):
    real, link = tmp_path / "real", tmp_path / "link"
    real.mkdir()
    link.symlink_to(real)
    plan = lower(Policy(mounts=[Mount(host=link, target="/data", access="rw")]), discover(), ROOT)
    assert shown(plan)["/data"] == Bind(str(real), "/data", "rw")


@pytest.mark.parametrize(
    "host", ["/", "/proc", "/sys/kernel", "/dev", "/dev/null", "/home", "/root", "/etc", "/run"]
)
def test_a_private_directory_is_never_mounted_as_a_whole(host):
    error = refused_mount(Mount(host=host, target="/data"))
    assert error.field == "mounts[0]"
    assert error.problem == f"{host!r} is never shown as a whole"


def test_a_link_to_a_private_directory_is_that_directory(tmp_path):
    (tmp_path / "data").symlink_to("/root")
    error = refused_mount(Mount(host=tmp_path / "data", target="/data"))
    assert error.problem == "'/root' is never shown as a whole"


def test_a_missing_path_is_told_with_its_place_in_the_policy(tmp_path):
    error = refused_mount(
        Mount(host=tmp_path, target="/a"), Mount(host=tmp_path / "none", target="/b")
    )
    assert error.field == "mounts[1]"
    assert error.problem == f"'{tmp_path}/none' cannot be used: No such file or directory"


def test_a_pipe_or_socket_is_no_mount(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    error = refused_mount(Mount(host=tmp_path / "pipe", target="/data"))
    assert error.problem.endswith("is neither a file nor a directory")


@pytest.mark.parametrize("inside", ["", "lib"])
def test_the_interpreter_is_never_mounted_writable(tmp_path, inside):
    environment = installed_in(tmp_path / "py")
    mount = Mount(host=tmp_path / "py" / inside, target="/data", access="rw")
    assert "would be writable" in refused_mount(mount, environment=environment).problem


@pytest.mark.parametrize("target", ["/var/lib", "/var/lib/x", "/var"])
def test_a_mount_cannot_hide_the_interpreter(tmp_path, target):
    environment = discover().model_copy(update={"prefix": "/var/lib"})
    error = refused_mount(Mount(host=tmp_path, target=target), environment=environment)
    assert error.problem == f"target {target!r} overlaps the interpreter or the system"


def test_a_mount_inside_another_needs_a_place_there(tmp_path):
    outer, inner = tmp_path / "outer", tmp_path / "inner"
    (outer / "place").mkdir(parents=True)
    (outer / "trap").symlink_to("/usr")
    inner.mkdir()
    mounts = [Mount(host=inner, target="/data/place"), Mount(host=outer, target="/data")]
    plan = lower(Policy(mounts=mounts), discover(), ROOT)
    targets = [bind.target for bind in plan.binds if bind.target.startswith("/data")]
    assert targets == ["/data", "/data/place"]
    for place in ("none", "trap"):
        error = refused_mount(
            Mount(host=inner, target=f"/data/{place}"), Mount(host=outer, target="/data")
        )
        assert error.field == "mounts[0]"
        assert "has no such place" in error.problem


def test_the_landlock_tier_shows_paths_where_they_are(tmp_path):
    error = refused_mount(Mount(host=tmp_path, target="/data"), tier="landlock")
    assert error.problem == "tier 'landlock' shows paths where they are, links resolved"
    mount = Mount(host="/var/lib", target="/var/lib")
    plan = lower(Policy(tier="landlock", mounts=[mount]), discover())
    assert shown(plan)["/var/lib"] == Bind("/var/lib", "/var/lib", "ro")
    assert "/usr" in shown(plan)


def test_the_process_tier_has_no_paths_of_its_own(tmp_path):
    error = refused_mount(Mount(host=tmp_path, target="/data"), tier="process")
    assert error.problem == "tier 'process' has no paths of its own"
    assert lower(Policy(tier="process"), discover(), USER).binds == ()


def test_sessions_of_root_reach_the_interpreter_in_the_process_tier_too():
    # They run under an id of their own, which may be unable to walk to root's interpreter.
    assert "/usr" in shown(lower(Policy(tier="process"), discover(), ROOT))


# ---- stricter is never wider --------------------------------------------------------------------

MODULES = ("os", "socket", "urllib.parse", "urllib.request", "json", "numpy.linalg", "x")
ACTIONS = ("allow", "log", "refuse", "kill")
"""From the widest to the strictest."""
HOST_DIRECTORIES = ("/usr/share", "/usr/lib", "/usr/include", "/usr/bin")

rules = st.builds(
    ImportRule,
    pattern=st.sampled_from(["os", "socket", "urllib*", "urllib.*", "*.linalg", "*", "json"]),
    action=st.sampled_from(ACTIONS),
    reason=st.just("reason"),
)
limits = st.fixed_dictionaries(
    {
        "memory_bytes": st.integers(16 * MiB, 2 * GiB),
        "processes": st.integers(1, 500),
        "open_files": st.integers(32, 1000),
        "workspace_bytes": st.integers(65_536, GiB),
        "workspace_files": st.integers(16, 100_000),
    }
)
mounts = st.lists(
    st.builds(
        Mount,
        host=st.sampled_from(HOST_DIRECTORIES),
        target=st.sampled_from(["/data", "/more", "/srv/x"]),
    ),
    unique_by=lambda mount: mount.target,
    max_size=3,
)
wide_policies = st.builds(
    Policy,
    tier=st.just("namespaces"),
    imports=st.builds(
        ImportPolicy, rules=st.lists(rules, max_size=5), default=st.sampled_from(["allow", "log"])
    ),
    mounts=mounts,
    limits=limits.map(lambda values: Limits(**values)),
)


@st.composite
def stricter(draw, policy: Policy) -> Policy:
    """`policy` with some things taken away: mounts, room, modules, the freedom of the language."""
    wide = policy.import_policy
    refused = draw(st.lists(rules.filter(lambda rule: rule.action in ACTIONS[2:]), max_size=3))
    lower_limits = {
        name: draw(st.integers(min(bottom, value), value))
        for name, bottom in (
            ("memory_bytes", 16 * MiB),
            ("processes", 1),
            ("open_files", 32),
            ("workspace_bytes", 65_536),
            ("workspace_files", 16),
        )
        for value in [getattr(policy.limits, name)]
    }
    return policy.model_copy(
        update={
            "imports": ImportPolicy(
                rules=[*refused, *wide.rules],
                default=draw(st.sampled_from(ACTIONS[ACTIONS.index(wide.default) :])),
            ),
            "mounts": [mount for mount in policy.mounts if draw(st.booleans())],
            "limits": Limits(**lower_limits),
            "language": draw(st.sampled_from(["full", "restricted"])),
        }
    )


def assert_no_wider(narrow: JailPlan, wide: JailPlan) -> None:
    assert set(narrow.layers) >= set(wide.layers)
    assert set(narrow.binds) <= set(wide.binds)
    for field in ("memory_bytes", "processes", "shm_bytes", "workspace_bytes", "workspace_files"):
        assert getattr(narrow, field) <= getattr(wide, field)
    for field in ("data_bytes", "processes", "open_files", "file_bytes", "stack_bytes"):
        assert getattr(narrow.rlimits, field) <= getattr(wide.rlimits, field)
    assert narrow.env == wide.env
    assert narrow.host_id_base == wide.host_id_base
    assert imported(narrow) <= imported(wide)


def imported(plan: JailPlan) -> set[str]:
    """Of `MODULES`, those that a snippet may import."""
    policy = ImportPolicy(rules=plan.import_rules, default=plan.import_default)
    return {module for module in MODULES if policy.decide(module) in ("allow", "log")}


@given(st.data())
def test_a_stricter_policy_never_lowers_to_a_wider_plan(data):
    wide = data.draw(wide_policies)
    narrow = data.draw(stricter(wide))
    assert_no_wider(lower(narrow, discover(), ROOT), lower(wide, discover(), ROOT))


def test_a_weaker_tier_never_has_a_layer_that_a_stronger_one_lacks():
    assert LAYERS_OF["process"] < LAYERS_OF["landlock"] < LAYERS_OF["namespaces"] == set(LAYERS)
