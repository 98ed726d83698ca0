"""What an operator sees and does: admin doors, the commands, metrics, traces, the audit log."""

import json
import re
from pathlib import Path

import httpx2
import pytest
from click.testing import CliRunner
from prometheus_client.parser import text_string_to_metric_families
from scripted import CALLED, STOPPED, call, say, spent
from serving import KEY, MODEL, TalkModel, config, directory, serving

from runner.cli import commands
from runner.config import AuditSettings, KeySettings
from runner.server.live.audit_log import first_broken
from runner.server.page_access import PAGE_HEADER

ADMIN = "sk-admin-key"
SECRET = "the words of the question"
TALKS = {
    SECRET: [
        [*call("import ctypes\n'the code'"), spent(10, 5, 0), CALLED],
        [*say("Done."), spent(12, 6, 0), STOPPED],
    ]
}
DASHBOARD = Path(__file__).parents[2] / "docs" / "grafana.json"


@pytest.fixture(scope="module")
def audit_file(tmp_path_factory):
    return tmp_path_factory.mktemp("audit") / "audit.jsonl"


@pytest.fixture(scope="module")
def server(audit_file):
    keys = (
        KeySettings(key=KEY, tenant="one"),
        KeySettings(key=ADMIN, tenant="operator", admin=True),
    )
    audit = AuditSettings(file=str(audit_file))
    with serving(directory(TalkModel(TALKS)), config(keys=keys, audit=audit)) as running:
        yield running


def client(server, key):
    return httpx2.Client(base_url=server.origin, headers={"authorization": f"Bearer {key}"})


@pytest.fixture
def http(server):
    with client(server, KEY) as one:
        yield one


@pytest.fixture
def admin(server):
    with client(server, ADMIN) as one:
        yield one


@pytest.fixture
def session(http):
    session_id = http.post("/v1/sessions").json()["id"]
    http.post(f"/v1/sessions/{session_id}/run", json={"code": "x = 1"})
    yield session_id
    http.delete(f"/v1/sessions/{session_id}")


def asked(http, **more):
    body = {"model": MODEL, "input": SECRET, "tools": [{"type": "code_interpreter"}]}
    body["tools"][0]["container"] = {"type": "auto"}
    reply = http.post("/v1/responses", json=body, **more)
    assert reply.status_code == 200, reply.text
    return reply.json()


# ---- doors --------------------------------------------------------------------------------------


@pytest.mark.parametrize("door", ["GET sessions", "GET sessions/x", "DELETE sessions/x"])
def test_the_doors_want_an_admin_key(server, http, admin, door):
    method, path = door.split()
    assert httpx2.request(method, f"{server.origin}/admin/{path}").status_code == 401
    refused = http.request(method, f"/admin/{path}")
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "access_denied")
    assert admin.request(method, f"/admin/{path}").status_code == (404 if "x" in path else 200)


def test_a_cookie_of_the_page_is_no_admin_key(server):
    with httpx2.Client(base_url=server.origin) as browser:
        own = {"sec-fetch-site": "same-origin", PAGE_HEADER: "1"}
        headers = {"origin": server.origin, **own}
        made = browser.post("/page/session", json={"key": ADMIN}, headers=headers)
        assert made.status_code == 200
        assert browser.get("/page/session", headers=headers).status_code == 200
        assert browser.get("/admin/sessions", headers=headers).status_code == 403


def test_sessions_of_all_keys_are_listed_with_what_they_spent_and_ended(http, admin, session):
    found = admin.get("/admin/sessions").json()
    one = next(one for one in found["data"] if one["id"] == session)
    assert (one["owner"], one["kind"], one["runs"]) == ("one", "session", 1)
    assert one["peak_memory_bytes"] > 0
    assert "seccomp" in one["layers"]
    assert found["tenants"]["one"]["sessions"] >= 1
    assert found["held"]["session"] >= 1
    assert admin.delete(f"/admin/sessions/{session}").json()["killed"] is True
    assert http.get(f"/v1/sessions/{session}").status_code == 404
    assert admin.get(f"/admin/sessions/{session}").status_code == 404


def test_a_containers_session_is_ended_and_its_files_stay(http, admin):
    container = asked(http)["output"][0]["container_id"]
    assert admin.get(f"/admin/sessions/{container}").json()["kind"] == "container"
    admin.delete(f"/admin/sessions/{container}")
    assert admin.get(f"/admin/sessions/{container}").status_code == 404
    assert http.get(f"/v1/containers/{container}").json()["x_variables"] == "lost"


# ---- commands -----------------------------------------------------------------------------------


def run(server, *arguments, key=ADMIN):
    return CliRunner().invoke(
        commands, [*arguments, "--url", server.origin], env={"CELLBLOCK_ADMIN_KEY": key}
    )


def test_the_commands_list_inspect_and_end_sessions(server, session):
    listed = json.loads(run(server, "sessions", "ls", "--json").output)
    assert session in [one["id"] for one in listed["data"]]
    # At 80 columns too: the other commands want whole ids.
    assert session in run(server, "sessions", "ls").output
    top = run(server, "top", "--once").output
    assert "Sessions: " in top
    assert session in top
    assert "one" in top
    assert json.loads(run(server, "sessions", "inspect", session).output)["owner"] == "one"
    assert run(server, "sessions", "kill", session).output == f"Ended {session}.\n"
    gone = run(server, "sessions", "inspect", session)
    assert (gone.exit_code, "not found" in gone.output) == (1, True)


def test_the_commands_say_what_is_wrong(server):
    refused = run(server, "sessions", "ls", key=KEY)
    assert (refused.exit_code, "admin = true" in refused.output) == (1, True)
    nowhere = CliRunner().invoke(
        commands,
        ["sessions", "ls", "--url", "http://127.0.0.1:9"],
        env={"CELLBLOCK_ADMIN_KEY": ADMIN},
    )
    assert (nowhere.exit_code, "Does it run?" in nowhere.output) == (1, True)


# ---- what is written and counted ----------------------------------------------------------------


def test_each_run_is_in_the_audit_log_without_its_code(server, http, admin, session, audit_file):
    asked(http)
    http.post("/run_code", json={"code": "print(6 * 7)", "language": "python"})
    http.post(f"/v1/sessions/{session}/exec", json={"command": "true"})
    admin.delete(f"/admin/sessions/{session}")
    text = audit_file.read_text()
    lines = [json.loads(line) for line in text.splitlines()]
    assert {"interpreter", "session", "program", "command"} <= {one.get("via") for one in lines}
    assert (lines[-1]["event"], lines[-1]["owner"]) == ("session_killed", "operator")
    assert all(len(one["id"]) == 36 for one in lines)
    for secret in (KEY, ADMIN, "ctypes", "the code", SECRET):
        assert secret not in text
    assert first_broken(audit_file) == (len(lines), 0)
    checked = CliRunner().invoke(commands, ["audit", str(audit_file)])
    assert (checked.exit_code, "whole" in checked.output) == (0, True)


def test_the_dashboard_asks_for_metrics_that_there_are(server, http, session):
    asked(http)
    families = list(text_string_to_metric_families(httpx2.get(f"{server.origin}/metrics").text))
    # A family without a sample yet, as of refusals, is there by name; a counter's is its stem.
    known = {family.name for family in families}
    labels: dict[str, set[str]] = {}
    for family in families:
        for sample in family.samples:
            labels.setdefault(family.name, set()).update(sample.labels)
    asked_for = 0
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        for target in panel["targets"]:
            for name in re.findall(r"cellblock_\w+", target["expr"]):
                asked_for += 1
                stem = re.sub(r"_(bucket|total)$", "", name)
                assert stem in known, name
                for label in re.findall(r"by \(([^)]*)\)", target["expr"]):
                    wanted = set(label.replace(" ", "").split(","))
                    assert not labels.get(stem) or wanted <= labels[stem], target["expr"]
    assert asked_for > len(known) / 2


def test_labels_are_bounded_whatever_clients_send(server, http):
    for number in range(20):
        http.get(f"/no/such/{number}")
        http.post("/v1/responses", json={"model": f"m{number}", "input": SECRET})
    text = httpx2.get(f"{server.origin}/metrics").text
    assert "/no/such" not in text
    assert 'model="m1"' not in text


def test_readyz_gives_its_reasons(server):
    url = f"{server.origin}/readyz"
    assert httpx2.get(url).json() == {"status": "ready", "reasons": []}
    services = server.services
    services.is_ready = False
    try:
        assert httpx2.get(url).json()["reasons"] == ["The first session is being started."]
        services.observer.problems["engine"] = "The engine does not start."
        reply = httpx2.get(url)
        assert (reply.status_code, reply.json()["reasons"]) == (503, ["The engine does not start."])
        services.is_ready = True
        assert httpx2.get(url).status_code == 200
        services.observer.problems["model"] = "A model does not start."
        assert httpx2.get(url).status_code == 503
    finally:
        services.is_ready = True
        services.observer.problems.clear()
