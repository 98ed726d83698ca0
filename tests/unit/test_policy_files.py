"""Policies as files: profiles, what extends what, comparison in words, and a monotone plan."""

import json
import tomllib
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from runner.cli import commands
from sandbox import PROFILES, Limits, Policy, PolicyError, Secret, allowed_beyond
from sandbox.policy.environment import discover
from sandbox.policy.lowering import lower


@pytest.mark.parametrize("name", PROFILES)
def test_every_profile_keeps_all_layers_and_has_no_network(name):
    policy = Policy.profile(name)
    assert policy.tier == "namespaces"
    assert policy.network == "none"


def test_a_file_extends_a_profile_and_sets_what_it_names(tmp_path: Path):
    file = tmp_path / "mine.toml"
    file.write_text('extends = "judge"\nsurvive = true\n[limits]\nwall_s = 2\n')
    policy = Policy.from_toml(file)
    assert policy.survive
    assert policy.limits.wall_s == 2
    assert policy.limits.processes == Policy.profile("judge").limits.processes
    assert policy.hash_seed == 0


def test_a_file_extends_a_file_beside_it(tmp_path: Path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "base.toml").write_text(
        '[[mounts]]\nhost = "data"\ntarget = "/data"\n[limits]\nwall_s = 7\n'
    )
    (tmp_path / "top.toml").write_text('extends = "sub/base.toml"\n[limits]\ncpu_s = 3\n')
    policy = Policy.from_toml(tmp_path / "top.toml")
    assert (policy.limits.wall_s, policy.limits.cpu_s) == (7, 3)
    assert policy.mounts[0].host == str(tmp_path / "sub" / "data")


def test_files_that_extend_each_other_are_refused_with_the_chain(tmp_path: Path):
    (tmp_path / "a.toml").write_text('extends = "b.toml"\n')
    (tmp_path / "b.toml").write_text('extends = "a.toml"\n')
    with pytest.raises(PolicyError, match=r"leads in a circle or too far: .*a\.toml -> .*b\.toml"):
        Policy.from_toml(tmp_path / "a.toml")


def test_an_unknown_profile_is_answered_with_those_there_are():
    with pytest.raises(PolicyError, match="Profiles are data-science, agent, judge, paranoid"):
        Policy.from_toml_text('extends = "brave"')


def test_what_a_policy_allows_beyond_another_is_said_in_words():
    secret = Secret("the-value", hosts=["api.example.com"])
    wide = Policy(
        network=["api.example.com:443"],
        secrets={"KEY": secret},
        mounts=[{"host": "/srv", "target": "/srv", "access": "rw"}],
        limits=Limits(wall_s=60),
    )
    assert allowed_beyond(Policy(imports="data"), wide)[:4] == [
        "limits.wall_s: 60.0 instead of 30.0",
        "network: requests to api.example.com:443",
        "mounts: /srv can be read and written at /srv",
        "imports: antigravity, audioop, cgi, cgitb, chunk, cmd, code, codeop, compileall, crypt,"
        " ctypes, curses and 43 more",
    ] or allowed_beyond(Policy(imports="data"), wide)[3].startswith("imports: ")
    assert "secrets: KEY may go to api.example.com" in allowed_beyond(Policy(), wide)
    assert allowed_beyond(wide, Policy()) == []
    assert allowed_beyond(wide, wide) == []


numbers = st.fixed_dictionaries(
    {
        "memory_bytes": st.integers(2**24, 2**34),
        "processes": st.integers(1, 1000),
        "open_files": st.integers(32, 1000),
        "workspace_bytes": st.integers(2**16, 2**30),
        "workspace_files": st.integers(16, 10_000),
    }
)


@given(numbers, numbers)
def test_a_stricter_policy_never_lowers_to_a_wider_plan(one, other):
    strict = {name: min(one[name], other[name]) for name in one}
    wide_policy, strict_policy = Policy(limits=Limits(**one)), Policy(limits=Limits(**strict))
    assert allowed_beyond(wide_policy, strict_policy) == []
    wide, narrow = (lower(policy, HERE) for policy in (wide_policy, strict_policy))
    assert set(narrow.layers) >= set(wide.layers)
    assert set(narrow.binds) <= set(wide.binds)
    assert narrow.listen_ports == wide.listen_ports == ()
    for name in ("memory_bytes", "processes", "workspace_bytes", "workspace_files", "shm_bytes"):
        assert getattr(narrow, name) <= getattr(wide, name)
    for name in ("open_files", "file_bytes"):
        assert getattr(narrow.rlimits, name) <= getattr(wide.rlimits, name)


HERE = discover(None)


def test_the_value_of_a_secret_is_never_shown():
    policy = Policy(
        network=["api.example.com:443"],
        secrets={"KEY": Secret("the-real-value", hosts=["api.example.com"])},
    )
    for text in (repr(policy), str(policy), policy.model_dump_json()):
        assert "the-real-value" not in text


TO = {"network": ["example.org:443", "*.wide.org:443", "localhost:8000!", "127.0.0.1:9!"]}


def secret(*hosts: str) -> dict[str, Secret]:
    return {"K": Secret("value", hosts=hosts)}


@pytest.mark.parametrize(
    "host", ["example.org", "EXAMPLE.org.", "a.wide.org", "*.wide.org", "*.b.wide.org", "*.org"]
)
def test_a_secret_for_a_host_that_the_network_reaches_is_taken(host):
    assert Policy(**TO, secrets=secret(host)).secrets["K"].hosts


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"network": ["example.org"]}, "names no port"),
        ({"network": ["example.org:443"], "tier": "landlock"}, "cannot be allowed by name"),
        ({"secrets": {"K": Secret("value", hosts=["a.b"])}}, "of no use without a network"),
        ({**TO, "secrets": secret("localhost")}, "joined byte by byte"),
        ({**TO, "secrets": secret("127.0.0.1")}, "joined byte by byte"),
        ({**TO, "secrets": secret("other.org")}, "secrets.K: is for other.org, which no rule"),
        ({**TO, "secrets": secret("example.org", "*.b.c")}, 'Add "\\*.b.c:443" to network'),
        ({**TO, "secrets": secret("in.example.org")}, "no rule of network"),
    ],
)
def test_a_network_that_cannot_be_had_is_refused_when_the_policy_is_made(options, problem):
    with pytest.raises(PolicyError, match=problem):
        Policy(**options)


def test_a_policy_is_shown_whole_and_can_be_read_again(tmp_path: Path):
    shown = CliRunner().invoke(commands, ["policy", "show", "paranoid"])
    assert shown.exit_code == 0
    assert Policy(**tomllib.loads(shown.output)) == Policy.profile("paranoid")


def test_diff_exits_with_1_when_the_second_allows_more():
    wider = CliRunner().invoke(commands, ["policy", "diff", "paranoid", "agent"])
    assert wider.exit_code == 1
    assert "limits.wall_s: 300.0 instead of 5.0" in wider.output
    same = CliRunner().invoke(commands, ["policy", "diff", "agent", "agent", "--json"])
    assert (same.exit_code, json.loads(same.output)) == (0, [])


def test_the_schema_names_every_field_of_a_policy():
    schema = json.loads(CliRunner().invoke(commands, ["policy", "schema"]).output)
    assert set(schema["properties"]) == {*Policy.model_fields, "extends"}
