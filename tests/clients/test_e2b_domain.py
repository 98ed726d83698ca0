"""`E2B_DOMAIN`: the API and each sandbox by names below one domain, as a proxy passes them on."""

import httpx2
import pytest
from serving import KEY, TalkModel, config, directory, serving

DOMAIN = "boxes.example.com"
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server():
    settings = config(server={"port": 0, "e2b_domain": DOMAIN, "hosts": ["api"]})
    with serving(directory(TalkModel({})), settings) as running:
        yield running


@pytest.fixture
def ask(server):
    with httpx2.Client(base_url=server.origin, timeout=60) as http:

        def asking(method, host, path, body=None, **headers):
            told = {"host": host, "x-api-key": KEY, **headers}
            return http.request(method, path, json=body, headers=told)

        yield asking


def test_a_sandbox_is_made_and_runs_code_by_names_below_the_domain(ask):
    made = ask("POST", f"api.{DOMAIN}", "/v2/sandboxes", {"templateID": "base"}).json()
    token = {"x-access-token": made["envdAccessToken"]}
    code, files = (f"{port}-{made['sandboxID']}.{DOMAIN}" for port in (49999, 49983))
    ran = ask("POST", code, "/execute", {"code": "6 * 7"}, **token)
    assert '"text":"42"' in ran.text.replace(" ", "")
    assert ask("GET", f"{files}:443".upper(), "/health").status_code == 204
    # The name decides, whatever a header says.
    other = {"e2b-sandbox-id": "sess0"}
    assert ask("GET", files, "/files?path=none.txt", **token, **other).status_code == 404
    assert ask("POST", code, "/execute", {"code": "1"}).status_code in (401, 403)
    assert ask("GET", f"8080-{made['sandboxID']}.{DOMAIN}", "/", **token).status_code == 404
    assert ask("DELETE", f"api.{DOMAIN}", f"/sandboxes/{made['sandboxID']}").status_code == 204
    assert ask("GET", files, "/health").status_code == 502


def test_other_names_are_no_part_of_it(ask):
    assert ask("GET", DOMAIN, "/v2/sandboxes").status_code == 403
    assert ask("GET", f"x{DOMAIN}", "/healthz").status_code == 403
    assert ask("GET", f"api.x{DOMAIN}", "/healthz").status_code == 403
    assert ask("GET", "api", "/healthz").status_code == 200
    assert ask("GET", "127.0.0.1", "/healthz").status_code == 200
    assert ask("GET", f"api.{DOMAIN}", "/v1/sessions").status_code == 404


def test_a_name_below_the_domain_is_not_the_page_of_another_site(ask):
    origin = {"origin": "https://evil.example"}
    assert ask("GET", f"api.{DOMAIN}", "/v2/sandboxes", **origin).status_code == 403
