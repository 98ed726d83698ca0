"""Outcomes: one class per ending, told by `status`; JSON and back without loss."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from sandbox.outcome import (
    Artifact,
    Completed,
    Denial,
    Died,
    ErrorInfo,
    LimitExceeded,
    NameChange,
    Outcome,
    Raised,
    Refused,
    StreamCut,
    Truncated,
    Usage,
    exit_status,
    outcome_from_json,
    outcome_to_json,
)

WHERE = {"tier": "namespaces", "layers": ("user_namespace", "seccomp")}
ERROR = ErrorInfo(type="ValueError", message="no", traceback="Traceback ...")
ENDINGS = [
    (Completed(**WHERE), "completed", 0),
    (Raised(error=ERROR, **WHERE), "raised", 1),
    (LimitExceeded(limit="wall_s", allowed=1, observed=1.2, **WHERE), "limit_exceeded", 124),
    (Refused(reason="no eval", line=3, **WHERE), "refused", 126),
    (Died(signal="SIGSEGV", **WHERE), "died", 137),
    (Died(exit_code=3, **WHERE), "died", 137),
]

text = st.text(max_size=20)
count = st.integers(0, 2**62)
amount = st.floats(0, 1e9)
shared = st.fixed_dictionaries(
    {"tier": st.sampled_from(["namespaces", "landlock", "process"]), "layers": st.tuples(text)},
    optional={
        "stdout": text,
        "stderr": text,
        "text": st.none() | text,
        "displays": st.tuples(st.dictionaries(text, text, max_size=3)),
        "artifacts": st.tuples(
            st.builds(
                Artifact,
                path=text,
                size_bytes=count,
                mime=text,
                sha256=st.none() | st.just("0" * 64),
                change=st.sampled_from(["made", "changed", "deleted"]),
            )
        ),
        "usage": st.builds(
            Usage,
            wall_s=amount,
            cpu_user_s=amount,
            cpu_system_s=amount,
            peak_memory_bytes=count,
            written_bytes=count,
            processes=count,
            start_s=amount,
        ),
        "denials": st.tuples(st.builds(Denial, layer=text, tried=text, rule=text, hint=text)),
        "truncated": st.builds(
            Truncated,
            stdout=st.builds(StreamCut, kept_bytes=count, dropped_bytes=count),
            stderr=st.builds(StreamCut, kept_bytes=count, dropped_bytes=count),
        ),
        "state": st.sampled_from(["kept", "rolled_back", "lost"]),
        "survives": st.booleans(),
        "survives_reason": text,
        "names": st.tuples(
            st.builds(
                NameChange,
                change=st.sampled_from(["added", "changed", "removed"]),
                name=text,
                type=text,
                size=text,
                size_bytes=count,
            )
        ),
    },
)
OWN = {
    Completed: {},
    Raised: {"error": st.builds(ErrorInfo, type=text, message=text, traceback=text)},
    LimitExceeded: {
        "limit": st.sampled_from(
            ["wall_s", "cpu_s", "memory_bytes", "output_bytes", "processes", "disk_bytes"]
        ),
        "allowed": amount,
        "observed": amount,
    },
    Died: {"exit_code": st.none() | st.integers(0, 255), "signal": st.none() | text},
    Refused: {"reason": text, "line": count},
}


@st.composite
def outcomes(draw) -> Outcome:
    cls = draw(st.sampled_from(list(OWN)))
    return cls(**draw(shared), **draw(st.fixed_dictionaries(OWN[cls])))  # type: ignore[call-overload]


@given(outcomes())
def test_an_outcome_comes_back_from_json_as_it_was(outcome):
    again = outcome_from_json(outcome_to_json(outcome))
    assert again == outcome
    assert type(again) is type(outcome)


@given(outcomes())
def test_json_is_one_object_on_one_line(outcome):
    line = outcome_to_json(outcome)
    assert "\n" not in line
    assert json.loads(line)["status"] == outcome.status


@pytest.mark.parametrize(("outcome", "status", "code"), ENDINGS)
def test_each_ending_has_its_status_and_exit_status(outcome, status, code):
    assert outcome.status == status
    assert exit_status(outcome) == code


def test_an_outcome_has_every_shared_field():
    assert set(Completed.model_fields) == {
        "status",
        "stdout",
        "stderr",
        "text",
        "displays",
        "artifacts",
        "usage",
        "denials",
        "attempts",
        "verdict",
        "tool_calls",
        "truncated",
        "state",
        "survives",
        "survives_reason",
        "names",
        "hints",
        "files_left",
        "tier",
        "layers",
    }


@pytest.mark.parametrize("outcome", [row[0] for row in ENDINGS])
def test_an_outcome_cannot_be_changed(outcome):
    with pytest.raises(ValidationError, match="frozen"):
        outcome.stdout = "forged"


@pytest.mark.parametrize(
    "change",
    [
        {"status": "fine"},
        {"status": "died"},
        {"verdict": "passed"},
        {"limit": "patience"},
        {"observed": None},
        {"state": "unclear"},
        {"tier": "vm"},
        {"usage": {"wall_s": -1}},
        {"artifacts": [{"path": "a"}]},
    ],
)
def test_json_with_a_wrong_field_is_refused(change):
    raw = json.loads(outcome_to_json(ENDINGS[2][0]))
    with pytest.raises(ValueError, match="validation error"):
        outcome_from_json(json.dumps({**raw, **change}))


def test_a_contradiction_between_classes_cannot_be_written():
    with pytest.raises(ValidationError):
        Completed(error=ERROR, **WHERE)
    with pytest.raises(ValidationError):
        LimitExceeded(status="completed", limit="wall_s", allowed=1, observed=2, **WHERE)


def test_lone_surrogates_of_a_guest_are_escaped():
    outcome = Raised(
        text="a\ud800b",
        displays=({"text/plain": "\udc80"},),
        error=ErrorInfo(type="E", message="\udfff", traceback=""),
        **WHERE,
    )
    assert outcome.text == "a\\ud800b"
    assert outcome.displays == ({"text/plain": "\\udc80"},)
    assert outcome.error.message == "\\udfff"
    assert outcome_from_json(outcome_to_json(outcome)) == outcome


def test_a_deleted_file_has_no_size_and_no_hash():
    artifact = Artifact(path="a.csv", size_bytes=0, mime="text/csv", sha256=None, change="deleted")
    assert (artifact.size_bytes, artifact.sha256) == (0, None)
