"""What `cellblock doctor` prints, over made-up answers of a probe."""

import json

import pytest

from runner import doctor
from sandbox.doctor.features import PROBED, Answers, FeatureReport, Try, judge
from sandbox.doctor.remedies import Facts

FACTS = Facts(
    kernel="6.8.0-45-generic",
    machine="x86_64",
    python="3.12.3",
    interpreter="/usr/bin/python3",
    uid=1000,
    landlock_abi=4,
    cgroup_version=0,
    cgroup_parents=(),
    host_id_base=None,
    container="",
    inherited_filter=False,
    unprivileged_userns_clone=None,
    max_user_namespaces=96000,
    apparmor_restricts_userns=1,
)
HOLDS = Try(holds=True, call="", error="", seen="it did")


def report(known: Facts = FACTS, **gaps: tuple[str, str]) -> FeatureReport:
    tries = {
        layer: Try(
            holds=False, call=gaps[layer][0], error=gaps[layer][1], seen=" gave ".join(gaps[layer])
        )
        if layer in gaps
        else HOLDS
        for layer in PROBED
    }
    return judge(Answers(tries=tries, facts=known))


def without_user_namespaces() -> FeatureReport:
    names = [layer for layer in PROBED if layer.endswith("_namespace")]
    return report(**dict.fromkeys(names, ("unshare(CLONE_NEWUSER)", "EPERM")))


def test_where_everything_holds_it_says_so_and_names_no_remedy():
    lines = doctor.render(report()).splitlines()
    assert lines[0] == "The default tier, namespaces, is possible here."
    assert "namespaces        yes    own files, network, processes and users; the default" in lines
    assert "seccomp           yes    it did" in lines
    assert "kernel            6.8.0-45-generic on x86_64" in lines
    assert "What closes the gaps" not in lines
    assert doctor.exit_status(report()) == 0


def test_a_remedy_that_closes_seven_gaps_is_said_once():
    found = without_user_namespaces()
    text = doctor.render(found)
    lines = text.splitlines()
    assert lines[0] == (
        "The default tier, namespaces, is not possible here: 7 layers do not hold."
        " The strongest possible is landlock."
    )
    assert "user_namespace    no     unshare(CLONE_NEWUSER) gave EPERM" in lines
    first = lines.index("What closes the gaps") + 1
    assert lines[first].startswith("user_namespace, mount_namespace, pid_namespace, net_namespace")
    assert lines[first].endswith(
        ": AppArmor takes the capabilities away that a new user namespace gives"
    )
    assert lines[first + 1].startswith("    printf 'abi <abi/4.0>")
    assert text.count("apparmor_parser") == 1
    assert doctor.exit_status(found) == 125


def test_a_gap_that_costs_no_tier_says_so():
    found = report(cgroup=("mkdir in version 2", "EACCES"))
    lines = doctor.render(found).splitlines()
    assert lines[0] == "The default tier, namespaces, is possible here."
    assert (
        "cgroup (no tier needs it): the cgroup of this process is not delegated to this user"
        in lines
    )
    assert doctor.exit_status(found) == 0


def test_one_layer_is_not_spoken_of_as_many():
    first = doctor.render(report(seccomp=("seccomp", "EINVAL"))).splitlines()[0]
    assert first == (
        "The default tier, namespaces, is not possible here: 1 layer does not hold."
        " The strongest possible is process."
    )


def test_where_no_tier_is_possible_it_says_so():
    found = report(**dict.fromkeys(PROBED, ("try", "")))
    assert doctor.render(found).splitlines()[0].endswith("14 layers do not hold. No other is.")
    assert doctor.exit_status(found) == 125


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"uid": 0}, "user              root"),
        ({}, "user              uid 1000"),
        ({}, "user ids          sessions share the caller's"),
        (
            {"host_id_base": 1_000_000},
            "user ids          each session has its own, from 1000000 on",
        ),
        ({"landlock_abi": 0}, "Landlock          none"),
        ({}, "Landlock          ABI 4"),
        ({"cgroup_version": 2}, "cgroups           version 2"),
        ({}, "cgroups           none for sessions; the meter watches them"),
        ({"container": "podman"}, "container         looks like podman"),
    ],
)
def test_the_machine_is_described(changes, line):
    assert line in doctor.render(report(FACTS.model_copy(update=changes))).splitlines()


def test_colours_change_nothing_but_the_colours():
    found = without_user_namespaces()
    plain, coloured = doctor.render(found), doctor.render(found, colour=True)
    assert "\x1b" not in plain
    assert "\x1b[31mno \x1b[0m" in coloured
    assert "\x1b[32myes\x1b[0m" in coloured
    for code in ("0", *doctor.STYLES.values()):
        coloured = coloured.replace(f"\x1b[{code}m", "")
    assert [line.rstrip() for line in coloured.splitlines()] == plain.splitlines()


def test_nothing_that_was_seen_is_obeyed_by_a_terminal():
    odd = report(FACTS.model_copy(update={"kernel": "6.8\x1b]52;c;eA==\x07\u202e"}))
    text = doctor.render(odd)
    assert not {"\x1b", "\x07", "\u202e"} & set(text)
    assert "6.8\\x1b]52;c;eA==\\x07\\u202e" in text


def test_json_holds_the_tiers_and_every_layer():
    found = without_user_namespaces()
    parsed = json.loads(doctor.to_json(found))
    assert parsed["tiers"] == ["landlock", "process"]
    assert [row["layer"] for row in parsed["layers"]] == list(PROBED)
    assert parsed["layers"][0] == {
        "layer": "user_namespace",
        "holds": False,
        "seen": "unshare(CLONE_NEWUSER) gave EPERM",
        "reason": "AppArmor takes the capabilities away that a new user namespace gives",
        "remedy": found.layers[0].remedy,
    }
    assert parsed["facts"]["apparmor_restricts_userns"] == 1
