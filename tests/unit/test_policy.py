"""Policy: exactly the documented fields, every mistake named, TOML and copies without loss."""

import copy
import pickle

import pytest

from sandbox.errors import PolicyError
from sandbox.policy.limits import Limits, MiB
from sandbox.policy.policy import ImportPolicy, Mount, Policy
from sandbox.policy.presets import PRESETS
from sandbox.protocol.plan import ImportRule

RICH = Policy(
    tier="landlock",
    environment="/opt/python/bin/python3",
    preload=["pandas", "numpy.linalg"],
    imports=ImportPolicy(
        rules=[
            ImportRule("socket", "refuse", "no network", "files"),
            {"pattern": "urllib.*", "action": "log"},
        ],
        default="allow",
    ),
    language="restricted",
    mounts=[Mount(host="/srv/data", target="/data"), {"host": "/srv/out", "target": "/out"}],
    env={"TZ": "UTC", "A": ""},
    survive=False,
    files="rollback",
    limits={"wall_s": 5, "memory_bytes": 128 * MiB},
)

RICH_TOML = """
tier = "landlock"
environment = "/opt/python/bin/python3"
preload = ["pandas", "numpy.linalg"]
language = "restricted"
survive = false
files = "rollback"

[imports]
default = "allow"
rules = [
    {pattern = "socket", action = "refuse", reason = "no network", alternative = "files"},
    {pattern = "urllib.*", action = "log"},
]

[[mounts]]
host = "/srv/data"
target = "/data"

[[mounts]]
host = "/srv/out"
target = "/out"

[env]
TZ = "UTC"
A = ""

[limits]
wall_s = 5
memory_bytes = 134217728
"""


def refusal(**fields: object) -> PolicyError:
    with pytest.raises(PolicyError) as caught:
        Policy(**fields)
    return caught.value


# ---- fields -------------------------------------------------------------------------------------


def test_defaults_are_the_documented_ones():
    assert Policy().model_dump() == {
        "tier": "namespaces",
        "environment": None,
        "preload": (),
        "imports": "open",
        "language": "full",
        "notebook": True,
        "network": "none",
        "secrets": {},
        "mounts": (),
        "env": {},
        "hash_seed": None,
        "survive": True,
        "files": "keep",
        "trace": False,
        "keep_going": False,
        "limits": Limits().model_dump(),
    }


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"bogus": 1}, "bogus"),
        ({"tier": "vm"}, "tier"),
        ({"environment": 3}, "environment"),
        ({"environment": ""}, "environment"),
        ({"environment": "/a\0b"}, "environment"),
        ({"preload": "pandas"}, "preload"),
        ({"preload": ["a", "b c"]}, "preload[1]"),
        ({"preload": ["os; import x"]}, "preload[0]"),
        ({"preload": [".a"]}, "preload[0]"),
        ({"imports": "everything"}, "imports"),
        ({"imports": 3}, "imports"),
        ({"imports": {"default": "maybe"}}, "imports.default"),
        ({"imports": {"rule": []}}, "imports.rule"),
        ({"imports": {"rules": ["socket"]}}, "imports.rules[0]"),
        ({"imports": {"rules": [{"pattern": "a", "action": "x"}]}}, "imports.rules[0].action"),
        ({"imports": {"rules": [{"action": "allow"}]}}, "imports.rules[0].pattern"),
        (
            {"imports": {"rules": [{"pattern": "a b", "action": "log"}]}},
            "imports.rules[0].pattern",
        ),
        (
            {"imports": {"rules": [{"pattern": "a", "action": "log", "why": ""}]}},
            "imports.rules[0].why",
        ),
        ({"imports": {"rules": [ImportRule("a", "sometimes", "")]}}, "imports.rules[0].action"),
        ({"language": "python2"}, "language"),
        ({"network": "all"}, "network"),
        ({"network": [1]}, "network"),
        ({"network": None}, "network"),
        ({"mounts": [{"host": "/a"}]}, "mounts[0].target"),
        ({"mounts": [{"host": "a", "target": "/data"}]}, "mounts[0].host"),
        ({"mounts": [{"host": "/a", "target": "data"}]}, "mounts[0].target"),
        ({"mounts": [{"host": "/a", "target": "/d", "access": "rwx"}]}, "mounts[0].access"),
        ({"mounts": [{"host": "/a", "target": "/d", "mode": "ro"}]}, "mounts[0].mode"),
        ({"env": {"A=B": "1"}}, "env"),
        ({"env": {"": "1"}}, "env"),
        ({"env": {"A\0": "1"}}, "env"),
        ({"env": {"A": "1\0"}}, "env.A"),
        ({"env": {"A": 1}}, "env.A"),
        ({"env": {"A": "x" * 70_000}}, "env"),
        ({"survive": 1}, "survive"),
        ({"files": "drop"}, "files"),
        ({"limits": {"wall": 1}}, "limits.wall"),
        ({"limits": {"wall_s": 0}}, "limits.wall_s"),
        ({"limits": {"kept_bytes": 2, "output_bytes": 1}}, "limits.kept_bytes"),
    ],
)
def test_a_mistake_is_refused_and_its_field_named(fields, field):
    error = refusal(**fields)
    assert error.field == field
    assert str(error).startswith(f"{field}: ")


def test_an_unknown_key_is_told_with_the_key_that_was_meant():
    assert str(refusal(preloads=[])) == ("preloads: unknown key of Policy. Did you mean 'preload'?")


@pytest.mark.parametrize("seed", [-1, 2**32, True, "0"])
def test_a_hash_seed_is_a_whole_number_of_32_bits(seed: object) -> None:
    assert refusal(hash_seed=seed).field == "hash_seed"


@pytest.mark.parametrize(
    "name", ["LD_PRELOAD", "LD_LIBRARY_PATH", "PYTHONPATH", "PYTHONSTARTUP", "GLIBC_TUNABLES"]
)
def test_variables_that_act_on_the_zygote_are_refused_with_the_reason(name):
    error = refusal(env={name: "x"})
    assert error.field == f"env.{name}"
    assert "trusted process" in error.problem


@pytest.mark.parametrize(
    "target",
    [
        *("/", "//", "/.", "/a/..", "/workspace", "/workspace/sub", "/mnt/data", "/mnt/data/x"),
        *("/tmp", "/tmp/x", "/var/tmp/x", "/dev/shm", "/proc", "/proc/self", "/sys/kernel"),
        *("/etc/passwd", "/usr", "/usr/lib/x", "/lib64", "/bin/sh", "/data/../usr"),
    ],
)
def test_a_mount_cannot_take_a_place_that_is_the_jails_own(target):
    assert refusal(mounts=[{"host": "/srv/data", "target": target}]).field == "mounts[0].target"


@pytest.mark.parametrize("target", ["/data", "/mnt/database", "/workspaces", "/tmpfiles", "/usr2"])
def test_a_mount_may_have_a_place_of_its_own(target):
    assert Policy(mounts=[Mount(host="/srv/data", target=target)]).mounts[0].target == target


def test_paths_of_a_mount_are_kept_in_their_plain_form():
    mount = Mount(host="//srv//data/", target="/data/./x/../y/")
    assert (mount.host, mount.target, mount.access) == ("/srv/data", "/data/y", "ro")


def test_two_mounts_cannot_have_one_target():
    mounts = [Mount(host="/srv/a", target="/data"), Mount(host="/srv/b", target="/data")]
    assert refusal(mounts=mounts).field == "mounts[1].target"


def test_a_module_that_imports_refuse_cannot_be_preloaded():
    assert refusal(preload=["json", "pandas"], imports="pure").field == "preload[1]"
    assert Policy(preload=["pandas"], imports="data").preload == ("pandas",)


def test_a_preload_is_done_once():
    assert Policy(preload=["a", "b", "a"]).preload == ("a", "b")


def test_an_allow_list_for_the_network_is_a_value_of_the_policy():
    assert Policy(network=["pypi.org:443"]).network == ("pypi.org:443",)


# ---- copies -------------------------------------------------------------------------------------


def test_a_policy_cannot_be_changed():
    policy = Policy(env={"A": "1"})
    with pytest.raises(ValueError, match="frozen"):
        policy.tier = "process"
    with pytest.raises(TypeError, match="make a new policy"):
        policy.env["A"] = "2"
    with pytest.raises(TypeError, match="make a new policy"):
        policy.env.update(A="2")
    assert policy.env == {"A": "1"}


def test_the_callers_own_containers_are_not_part_of_the_policy():
    env, preload = {"A": "1"}, ["json"]
    policy = Policy(env=env, preload=preload)
    env["A"] = "2"
    preload.append("csv")
    assert (policy.env, policy.preload) == ({"A": "1"}, ("json",))


@pytest.mark.parametrize(
    "again",
    [
        copy.copy,
        copy.deepcopy,
        lambda policy: pickle.loads(pickle.dumps(policy)),
        lambda policy: Policy(**policy.model_dump()),
        lambda policy: Policy.model_validate_json(policy.model_dump_json()),
        lambda policy: Policy.from_toml_text(RICH_TOML),
    ],
)
def test_equal_policies_are_one_key_however_they_were_made(again):
    other = again(RICH)
    assert other == RICH
    assert hash(other) == hash(RICH)
    assert {RICH: "found"}[other] == "found"


def test_policies_that_differ_are_different_keys():
    others = [
        RICH.model_copy(update={"env": {"TZ": "CET", "A": ""}}),
        RICH.model_copy(update={"limits": Limits(wall_s=6)}),
        RICH.model_copy(update={"imports": "open"}),
    ]
    assert len({RICH, *others}) == 4


def test_a_changed_copy_is_checked_like_a_new_one():
    with pytest.raises(PolicyError) as caught:
        RICH.model_copy(update={"bogus": 1})
    assert caught.value.field == "bogus"
    assert RICH.model_copy(update={"survive": True}).survive is True


# ---- TOML ---------------------------------------------------------------------------------------


def test_a_toml_file_says_the_same_as_the_call(tmp_path):
    path = tmp_path / "policy.toml"
    path.write_text(RICH_TOML)
    assert Policy.from_toml(path) == RICH


def test_an_empty_toml_file_is_the_default_policy(tmp_path):
    path = tmp_path / "policy.toml"
    path.write_text("")
    assert Policy.from_toml(path) == Policy()


def test_relative_paths_in_a_file_start_from_its_directory(tmp_path):
    path = tmp_path / "policy.toml"
    path.write_text(
        'environment = ".venv/bin/python"\n[[mounts]]\nhost = "data"\ntarget = "/data"\n'
    )
    policy = Policy.from_toml(path)
    assert policy.environment == f"{tmp_path}/.venv/bin/python"
    assert policy.mounts == (Mount(host=f"{tmp_path}/data", target="/data"),)


def test_an_interpreter_by_name_is_left_for_the_search_in_path(tmp_path):
    path = tmp_path / "policy.toml"
    path.write_text('environment = "python3.12"\n')
    assert Policy.from_toml(path).environment == "python3.12"


@pytest.mark.parametrize(
    ("text", "field", "words"),
    [
        ("[limits]\nwal_s = 2", "limits.wal_s", "Did you mean 'wall_s'?"),
        ("teir = 1", "teir", "Did you mean 'tier'?"),
        ('tier = "vm"', "tier", "'namespaces', 'landlock' or 'process'"),
        ('mounts = ["a"]', "mounts[0]", "It must be a table"),
        ("mounts = 3", "mounts", "It must be a list"),
        ("tier = 3 4", "", "line 1"),
    ],
)
def test_a_mistake_in_a_file_names_the_file_and_the_key(tmp_path, text, field, words):
    path = tmp_path / "policy.toml"
    path.write_text(text)
    with pytest.raises(PolicyError) as caught:
        Policy.from_toml(path)
    assert (caught.value.source, caught.value.field) == (str(path), field)
    assert str(caught.value).startswith(f"{path}: {field}")
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("content", "words"), [(None, "No such file"), (b"tier = '\xff'", "can't decode byte")]
)
def test_a_file_that_cannot_be_read_is_a_policy_error(tmp_path, content, words):
    path = tmp_path / "policy.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(PolicyError, match=words) as caught:
        Policy.from_toml(path)
    assert caught.value.source == str(path)


# ---- imports ------------------------------------------------------------------------------------


def test_the_first_rule_that_matches_decides():
    policy = ImportPolicy(
        rules=[
            ImportRule("urllib.parse", "allow", ""),
            ImportRule("urllib*", "refuse", "no network"),
            ImportRule("*", "log", ""),
        ]
    )
    assert policy.decide("urllib.parse") == "allow"
    assert policy.decide("urllib.request") == "refuse"
    assert policy.decide("urllib3") == "refuse"
    assert policy.decide("json") == "log"


def test_a_module_that_no_rule_names_is_refused_with_its_package():
    policy = ImportPolicy(rules=[ImportRule("http", "refuse", "")])
    assert policy.decide("http.client") == "refuse"
    assert policy.decide("httpx") == "allow"


@pytest.mark.parametrize(
    ("preset", "module", "action"),
    [
        ("open", "subprocess", "allow"),
        ("data", "pandas", "allow"),
        ("data", "pandas.io.formats.style", "allow"),
        ("data", "matplotlib.pyplot", "allow"),
        ("data", "sklearn.linear_model", "allow"),
        ("data", "os", "allow"),
        ("data", "os.path", "allow"),
        ("data", "asyncio", "allow"),
        ("data", "urllib.parse", "allow"),
        ("data", "concurrent.futures", "allow"),
        ("data", "xml.etree.ElementTree", "allow"),
        ("data", "math", "allow"),
        ("data", "subprocess", "refuse"),
        ("data", "socket", "refuse"),
        ("data", "multiprocessing.pool", "refuse"),
        ("data", "concurrent.futures.process", "refuse"),
        ("data", "ctypes.util", "refuse"),
        ("data", "http.client", "refuse"),
        ("data", "urllib.request", "refuse"),
        ("data", "requests", "refuse"),
        ("data", "numpydoc", "refuse"),
        ("data", "module_of_nobody", "refuse"),
        ("pure", "math", "allow"),
        ("pure", "collections.abc", "allow"),
        ("pure", "re", "allow"),
        ("pure", "os", "refuse"),
        ("pure", "numpy", "refuse"),
        ("pure", "subprocess", "refuse"),
    ],
)
def test_a_preset_decides(preset, module, action):
    assert Policy(imports=preset).import_policy.decide(module) == action


def test_each_preset_allows_no_more_than_the_wider_one():
    named = {
        rule.pattern.removesuffix(".*") for preset in PRESETS.values() for rule in preset.rules
    }
    allowed = {
        name: {
            module
            for module in named
            if Policy(imports=name).import_policy.decide(module) == "allow"
        }
        for name in PRESETS
    }
    assert allowed["pure"] < allowed["data"] < allowed["open"] == named


@pytest.mark.parametrize("preset", ["data", "pure"])
def test_a_preset_gives_a_reason_in_each_row_and_an_alternative_to_each_refusal(preset):
    for rule in PRESETS[preset].rules:
        assert rule.reason
        assert rule.action == "allow" or rule.alternative
    # Rules after a catch-all, or named twice, would never be asked.
    patterns = [rule.pattern for rule in PRESETS[preset].rules]
    assert len(patterns) == len(set(patterns))
