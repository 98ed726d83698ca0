"""Limits: defaults, bounds, contradictions, and what one call may change."""

import copy
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.errors import PolicyError, SandboxError
from sandbox.policy.limits import PER_CALL, GiB, KiB, Limits, MiB, merged
from sandbox.policy.policy import Policy
from sandbox.policy.settings import Settings

FIELDS = tuple(Limits.model_fields)
CALLS = st.fixed_dictionaries(
    {},
    optional={
        "wall_s": st.floats(0.01, 1000),
        "cpu_s": st.floats(0.01, 1000),
        "grace_s": st.floats(0, 10),
        "memory_bytes": st.integers(16 * MiB, GiB),
        "output_bytes": st.integers(2 * MiB, GiB),
        "kept_bytes": st.integers(0, 2 * MiB),
    },
)


def refusal(**fields: object) -> PolicyError:
    with pytest.raises(PolicyError) as caught:
        Limits(**fields)
    return caught.value


def test_defaults_are_the_documented_ones():
    assert Limits().model_dump() == {
        "wall_s": 30.0,
        "cpu_s": 30.0,
        "grace_s": 0.5,
        "memory_bytes": 1024**3,
        "processes": 64,
        "open_files": 256,
        "output_bytes": 64 * 1024**2,
        "kept_bytes": 1024**2,
        "workspace_bytes": 256 * 1024**2,
        "workspace_files": 10_000,
    }


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize("value", [-1, float("inf"), float("nan"), True, "30", None, [1], 2**70])
def test_no_field_takes_what_is_no_sane_number(field, value):
    assert refusal(**{field: value}).field == field


@pytest.mark.parametrize("field", sorted(set(FIELDS) - {"grace_s", "kept_bytes"}))
def test_zero_is_no_limit_that_anything_could_live_with(field):
    assert refusal(**{field: 0}).field == field


@pytest.mark.parametrize("field", [name for name in FIELDS if not name.endswith("_s")])
def test_a_count_takes_no_fraction(field):
    assert refusal(**{field: 70_000.5}).field == field


def test_no_grace_and_nothing_kept_are_limits_like_others():
    assert Limits(grace_s=0, kept_bytes=0).grace_s == 0


def test_an_unknown_key_is_refused_with_the_nearest_name():
    error = refusal(wal_s=1)
    assert (error.field, error.remedy) == ("wal_s", "Did you mean 'wall_s'?")
    assert str(error) == "wal_s: unknown key of Limits. Did you mean 'wall_s'?"


def test_every_wrong_field_is_named_at_once():
    error = refusal(wall_s=-1, cpu_s=-1, memory_bytes=1)
    assert error.field == "wall_s"
    assert error.remedy.endswith("Also wrong: cpu_s, memory_bytes")


def test_a_refusal_is_a_value_error_of_the_engine():
    assert isinstance(refusal(wall_s=-1), ValueError)
    assert isinstance(refusal(wall_s=-1), SandboxError)


def test_more_cannot_be_kept_than_may_be_written():
    error = refusal(kept_bytes=2000, output_bytes=1000)
    assert error.field == "kept_bytes"
    assert error.problem == "2000 bytes cannot be kept of the 1000 that output_bytes lets through"


def test_a_default_for_kept_bytes_gives_way_to_a_small_output():
    limits = Limits(output_bytes=1000)
    assert limits.kept_bytes == 1000
    assert limits.model_fields_set == {"output_bytes"}


def test_a_wall_limit_below_the_default_grace_is_reasonable():
    assert Limits(wall_s=0.2).grace_s == 0.5


def test_limits_cannot_be_changed_and_serve_as_a_key():
    limits = Limits(wall_s=1)
    with pytest.raises(ValueError, match="frozen"):
        limits.wall_s = 2
    assert {limits: 1}[Limits(wall_s=1)] == 1


@pytest.mark.parametrize(
    "again",
    [
        copy.copy,
        copy.deepcopy,
        lambda limits: pickle.loads(pickle.dumps(limits)),
        lambda limits: Limits.model_validate_json(limits.model_dump_json()),
    ],
)
def test_limits_survive_copies_pickles_and_json(again):
    limits = Limits(wall_s=1.5, memory_bytes=64 * MiB)
    assert again(limits) == limits


def test_a_changed_copy_is_checked_like_a_new_one():
    with pytest.raises(PolicyError) as caught:
        Limits().model_copy(update={"wall_s": -1})
    assert caught.value.field == "wall_s"


@given(base=CALLS, override=CALLS)
def test_only_fields_that_a_call_sets_replace_the_policys(base, override):
    base_limits = Limits(**base)
    override = {
        name: min(value, base_limits.memory_bytes) if name == "memory_bytes" else value
        for name, value in override.items()
    }
    result = merged(base_limits, Limits(**override)).model_dump()
    assert result == {**base_limits.model_dump(), **override}


def test_a_call_without_limits_has_the_policys():
    base = Limits(wall_s=3)
    assert merged(base, None) is base
    assert merged(base, Limits()) is base


def test_a_call_with_less_output_keeps_no_more_than_that():
    result = merged(Limits(kept_bytes=500 * KiB), Limits(output_bytes=100 * KiB))
    assert (result.output_bytes, result.kept_bytes) == (100 * KiB, 100 * KiB)


@pytest.mark.parametrize("field", sorted(set(FIELDS) - PER_CALL))
def test_a_call_cannot_change_what_the_jail_fixed(field):
    base = Limits()
    changed = getattr(base, field) * 2
    with pytest.raises(PolicyError) as caught:
        merged(base, Limits(**{field: changed}))
    assert caught.value.field == f"limits.{field}"
    assert caught.value.remedy == "Set it in Policy(limits=...)"


def test_a_call_may_repeat_what_the_jail_fixed():
    assert merged(Limits(processes=8), Limits(processes=8, wall_s=1)).wall_s == 1


def test_a_call_can_lower_the_memory_but_not_raise_it():
    base = Limits(memory_bytes=256 * MiB)
    assert merged(base, Limits(memory_bytes=64 * MiB)).memory_bytes == 64 * MiB
    with pytest.raises(PolicyError) as caught:
        merged(base, Limits(memory_bytes=512 * MiB))
    assert caught.value.field == "limits.memory_bytes"


@pytest.mark.parametrize("value", [{"wall_s": 1}, 5, "wall_s=1", [("wall_s", 1)]])
def test_limits_of_another_type_name_the_right_form(value: object) -> None:
    with pytest.raises(PolicyError, match=r"Give Limits\(wall_s=[15]\)"):
        merged(Limits(), value)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", [Limits, Policy])
def test_help_names_every_field(kind: type[Settings]) -> None:
    told = {line.split()[0] for line in (kind.__doc__ or "").splitlines() if line.strip()}
    assert set(kind.model_fields) <= told
