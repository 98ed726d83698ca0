"""The OpenAPI document is true: what it promises of each operation, the server does."""

import httpx2
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import CHECKS
from schemathesis.core.failures import FailureGroup
from scripted import STOPPED, ScriptedModel, say
from serving import KEY, config, directory, serving

from runner.config import ANY, KeySettings, ServerSettings

EXAMPLES = 8
BOUNDED = settings(
    max_examples=EXAMPLES, derandomize=True, database=None, deadline=None,
    phases=[Phase.generate], suppress_health_check=list(HealthCheck),
)  # fmt: skip
NO_KEY = {"/healthz", "/readyz", "/metrics", "/v1/ping"}


@pytest.fixture(scope="module")
def schema():
    """The document of a server whose every model says one word."""
    keys = (KeySettings(key=KEY, requests_per_minute=100_000, sessions=100),)
    talk = ScriptedModel([*say("Yes."), STOPPED])
    models = directory(talk, **{ANY: talk})
    with serving(models, config(keys=keys, server=ServerSettings(grace_s=1))) as server:
        found = schemathesis.openapi.from_url(f"{server.origin}/openapi.json")
        found.config.update(base_url=server.origin, headers={"authorization": f"Bearer {KEY}"})
        yield found


def operations(schema):
    return [found.ok() for found in schema.get_all_operations()]


def asked_for_what_may_be(case):
    """`case` without what no schema can say: ids of nothing, more memory than this policy gives,
    and rules between body and header."""
    case.query = {name: value for name, value in case.query.items() if name != "after"}
    if isinstance(case.body, dict):
        for field in ("previous_response_id", "conversation", "memory_limit"):
            case.body.pop(field, None)
        if {"type": "code_interpreter"} in (case.body.get("tools") or ()):
            case.body |= {"enable_thinking": True, "reasoning": None}
    if case.path.endswith("/generation"):
        case.headers["X-DashScope-SSE"] = "enable"
    return case


def test_every_operation_is_documented_and_all_but_four_want_a_key(schema):
    paths = {operation.path for operation in operations(schema)}
    assert {"/v1/responses", "/v1/files", "/v1/sessions/{session_id}/run"} | NO_KEY <= paths
    for operation in operations(schema):
        path = operation.path.replace("{", "").replace("}", "")
        reply = httpx2.request(operation.method, schema.config.base_url + path)
        wants_key = bool(operation.definition.raw.get("security"))
        assert (wants_key, reply.status_code == 401) == (path not in NO_KEY,) * 2, operation.label


def test_what_the_document_says_is_true_of_every_operation(schema):
    untrue = {}
    for operation in operations(schema):
        if "/compatible-mode/" in operation.path:
            # The same handlers as under /v1.
            continue

        @BOUNDED
        @given(case=operation.as_strategy().map(asked_for_what_may_be))
        def check(case):
            # Its way to leave out a key does not reach the header that is set above.
            case.call_and_validate(timeout=60, excluded_checks=[CHECKS.get_one("ignored_auth")])

        try:
            check()
        except FailureGroup as error:
            untrue[operation.label] = [*map(str, error.exceptions), str(error)[-400:]]
    assert untrue == {}
