"""Pages of other sites: no name but the server's own, no origin but those that are named."""

import http.client
import socket

import httpx2
import pytest
from serving import KEY, TalkModel, config, directory, serving

from runner.config import ServerSettings
from runner.server.http.origins import Hosts

SITE = "https://chat.example"
BASIC = httpx2.BasicAuth("any", KEY)
BEARER = {"authorization": f"Bearer {KEY}"}


@pytest.fixture(scope="module")
def server():
    settings = ServerSettings(
        heartbeat_s=0.2, grace_s=1, hosts=("box.example",), cors_origins=(f"{SITE}/",)
    )
    with serving(directory(TalkModel({})), config(server=settings)) as running:
        yield running


def get(server, path="/v1/files", **headers):
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx2.get(server.origin + path, headers={**BEARER, **named})


@pytest.mark.parametrize("path", ["/v1/files", "/metrics", "/healthz", "/openapi.json", "/none"])
@pytest.mark.parametrize(
    "host",
    [
        "attacker.example",
        "127.0.0.1.attacker.example",
        "10.0.0.1",
        "localhost.example:80",
        "",
        "[::1",
        "[::1]attacker.example",
        "[::1]:attacker",
        "[127.0.0.1]",
        "localhost@attacker.example",
        "localhost:80:80",
    ],
)
def test_a_name_that_is_not_the_servers_is_refused(server, path, host):
    reply = get(server, path, host=host)
    assert reply.status_code == 403
    assert "[server] hosts" in reply.json()["error"]["message"]


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:9", "127.0.0.1", "[::1]:80", "localhost.", "box.example:443"]
)
def test_every_name_of_the_server_is_taken(server, host):
    assert get(server, host=host).status_code == 200


def test_a_host_is_sent_once(server):
    port = int(server.origin.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        head = "GET /healthz HTTP/1.1\r\nhost: localhost\r\nhost: attacker.example\r\n\r\n"
        connection.sendall(head.encode())
        reply = http.client.HTTPResponse(connection)
        reply.begin()
        assert reply.status == 403


@pytest.mark.parametrize(
    "origin",
    [
        "http://attacker.example",
        "null",
        "https://chat.example.attacker.example",
        "x",
        "",
        "http://[",
        "http://[attacker]",
    ],
)
def test_a_page_of_another_site_is_refused(server, origin):
    for auth in (BASIC, None):
        headers = {"origin": origin, "content-type": "text/plain", **({} if auth else BEARER)}
        reply = httpx2.post(
            f"{server.origin}/v1/conversations", content=b"{}", headers=headers, auth=auth
        )
        assert (reply.status_code, reply.json()["error"]["code"]) == (403, "access_denied")
        assert "access-control-allow-origin" not in reply.headers


def test_the_servers_own_pages_are_not_foreign(server):
    assert get(server, origin=server.origin).status_code == 200
    own = httpx2.get(
        f"{server.origin}/v1/files",
        headers={"origin": server.origin, "sec-fetch-site": "same-origin"},
        auth=BASIC,
    )
    assert own.status_code == 200


def test_a_named_site_may_use_its_key_and_read_the_answer(server):
    reply = get(server, origin=SITE)
    assert reply.status_code == 200
    assert reply.headers["access-control-allow-origin"] == SITE
    assert "x-request-id" in reply.headers["access-control-expose-headers"]
    refused = get(server, "/v1/files/none", origin=SITE)
    assert (refused.status_code, refused.headers["access-control-allow-origin"]) == (404, SITE)
    assert "access-control-allow-credentials" not in reply.headers


def test_a_named_site_is_told_before_what_it_may_send(server):
    asked = {
        "origin": SITE,
        "access-control-request-method": "POST",
        "access-control-request-headers": "authorization,content-type",
    }
    reply = httpx2.options(f"{server.origin}/v1/responses", headers=asked)
    assert reply.status_code == 204
    assert reply.headers["access-control-allow-headers"] == "authorization,content-type"
    assert "POST" in reply.headers["access-control-allow-methods"]
    foreign = {**asked, "origin": "http://attacker.example"}
    assert httpx2.options(f"{server.origin}/v1/responses", headers=foreign).status_code == 403


@pytest.mark.parametrize(
    "more",
    [
        {"origin": SITE},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "CROSS-SITE"},
        {"referer": "http://attacker.example/page"},
        {"referer": "http://["},
    ],
)
def test_credentials_that_a_browser_adds_by_itself_are_not_taken_from_pages(server, more):
    reply = httpx2.get(f"{server.origin}/v1/files", headers=more, auth=BASIC)
    assert reply.status_code == 403


@pytest.mark.parametrize("everywhere", ["0.0.0.0", "::", ""])
def test_a_server_on_every_address_takes_addresses_and_no_foreign_names(everywhere):
    hosts = Hosts.of(ServerSettings(host=everywhere))
    assert not hosts.has("")
    assert hosts.has("192.0.2.7:8000")
    assert hosts.has("[2001:db8::1]:8000")
    assert hosts.has("localhost")
    assert not hosts.has("attacker.example")
    one = Hosts.of(ServerSettings(host="192.0.2.7"))
    assert [one.has(name) for name in ("192.0.2.7:8000", "192.0.2.8", "localhost")] == [
        True,
        False,
        False,
    ]
