"""How a browser gets in: links that are good once, cookies, and requests of other sites."""

import os
import re
import subprocess
import sys

import httpx2
import pytest
from browsing import Visitor
from page_talks import PageModel
from playwright.sync_api import expect
from serving import KEY, config, directory, serving

from runner.config import KeySettings
from runner.errors import RequestError
from runner.server.accounts import Accounts
from runner.server.page_access import COOKIE_S, TOKEN_S, PageAccess

MARK = {"x-cellblock-page": "1"}


@pytest.fixture(scope="module")
def server():
    with serving(directory(PageModel())) as running:
        yield running


@pytest.fixture
def client(server):
    with httpx2.Client(base_url=server.origin) as found:
        yield found


def signed_in(server, client):
    token = server.services.page.make_token()
    response = client.post("/page/session", json={"token": token}, headers=MARK)
    assert response.status_code == 200
    return response


class Clock:
    now = 1_000_000.0

    def __call__(self):
        return self.now


def access(*keys):
    clock = Clock()
    settings = [KeySettings(key=key, tenant=key) for key in keys]
    return PageAccess(Accounts(settings), clock=clock), clock


def test_a_token_is_good_once_and_for_an_hour():
    page, clock = access("first", "second")
    token = page.make_token()
    assert page.redeem(token).owner == "first"
    for used in (token, "", "made up"):
        with pytest.raises(RequestError, match="was used or is too old"):
            page.redeem(used)
    late = page.make_token()
    clock.now += TOKEN_S
    with pytest.raises(RequestError, match="too old"):
        page.redeem(late)


def test_a_cookie_outlives_a_restart_and_ends_with_its_key_and_its_time():
    page, clock = access("first", "second")
    second = page._accounts.signers[1][1]
    cookie = page.cookie(second)
    again, clock = access("first", "second")
    found = again._of_cookie(cookie)
    assert found is not None
    assert found.owner == "second"
    assert access("first")[0]._of_cookie(cookie) is None
    body, _, signature = cookie.rpartition(".")
    for forged in ("", "..", f"{int(clock.now) + 9 * COOKIE_S}.x.{signature}", f"{body}.", "é.é.é"):
        assert again._of_cookie(forged) is None
    clock.now += COOKIE_S
    assert again._of_cookie(cookie) is None


def test_the_cookie_is_for_this_site_and_hidden_from_scripts(server, client):
    response = signed_in(server, client)
    cookie = response.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert KEY not in response.text
    assert client.get("/page/session").json()["has_model"] is True
    assert client.post("/v1/sessions", headers=MARK).status_code == 201


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {**MARK, "origin": "http://evil.example"},
        {**MARK, "origin": "null"},
        {**MARK, "sec-fetch-site": "cross-site"},
        {**MARK, "sec-fetch-site": "same-site"},
    ],
)
def test_what_another_site_makes_the_browser_send_is_refused(server, client, headers):
    signed_in(server, client)
    before = len(server.services.sessions.of("default"))
    response = client.post("/v1/sessions", headers=headers)
    assert response.status_code == 403
    assert len(server.services.sessions.of("default")) == before


def test_another_site_cannot_read_with_the_cookie_either(server, client):
    signed_in(server, client)
    response = client.get("/page/session", headers={"sec-fetch-site": "cross-site"})
    assert response.status_code == 403
    assert client.get("/page/session", headers={"origin": server.origin}).status_code == 200


def test_without_key_or_cookie_there_is_nothing_but_the_page(server, client):
    assert client.get("/").status_code == 200
    for path in ("/page/session", "/page/conversations", "/v1/sessions", "/v1/containers"):
        assert client.get(path).status_code == 401
    assert client.post("/page/session", json={"key": "wrong"}, headers=MARK).status_code == 401
    assert client.post("/page/session", json={"key": KEY}, headers=MARK).status_code == 200


def test_the_page_may_load_nothing_from_elsewhere(server, client):
    response = client.get("/")
    policy = response.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "http:" not in policy
    assert "require-trusted-types-for 'script'" in policy
    nonce = policy.partition("'nonce-")[2].partition("'")[0]
    assert f'data-style-nonce="{nonce}"' in response.text
    assert nonce not in client.get("/").text
    assert KEY not in response.text


def test_signing_out_takes_the_cookie_back(server, client):
    signed_in(server, client)
    assert client.delete("/page/session", headers=MARK).status_code == 200
    assert client.get("/page/session").status_code == 401


def test_conversations_of_another_key_are_not_listed(tmp_path):
    keys = (KeySettings(key="one", tenant="one"), KeySettings(key="two", tenant="two"))
    with serving(directory(PageModel()), config(keys=keys)) as server:
        clients = [
            httpx2.Client(base_url=server.origin, headers={"authorization": f"Bearer {key.key}"})
            for key in keys
        ]
        body = {"metadata": {"page": "1", "title": "mine"}}
        made = clients[0].post("/v1/conversations", json=body).json()
        own, other = (client.get("/page/conversations").json()["data"] for client in clients)
        assert [one["id"] for one in own] == [made["id"]]
        assert other == []
        path = f"/page/conversations/{made['id']}/branches"
        assert clients[1].post(path, json={}).status_code == 404


@pytest.mark.slow
def test_a_used_link_asks_for_the_key_and_the_browser_keeps_neither(browser, server):
    with Visitor(browser, server) as first:
        link = first.link()
        first.page.goto(link)
        first.page.locator(".frame").wait_for()
        assert "token" not in first.page.url
        with Visitor(browser, server) as second:
            second.page.goto(link)
            expect(second.page.get_by_role("alert")).to_contain_text("was used or is too old")
            second.page.get_by_label("API key").fill(KEY)
            second.page.get_by_role("button", name="Sign in").click()
            second.page.locator(".frame").wait_for()
            kept = second.page.evaluate(
                "JSON.stringify([{...localStorage}, {...sessionStorage}, document.cookie])"
            )
            assert KEY not in kept
            assert kept.endswith('""]')


@pytest.mark.slow
def test_the_terminal_shows_a_link_that_opens_the_page(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-m", "runner", "serve", "--port", "0", "--without-model"],
        env={**os.environ, "XDG_DATA_HOME": str(tmp_path), "CELLBLOCK_API_KEY": KEY},
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        line = next(line for line in process.stderr if "#token=" in line)
        origin, _, token = re.search(r"(http://\S+)/(#)token=(\S+)", line).groups()
        with httpx2.Client(base_url=origin) as client:
            for status in (200, 401):
                sent = client.post("/page/session", json={"token": token}, headers=MARK)
                assert sent.status_code == status
            assert client.get("/page/session").json()["has_model"] is False
    finally:
        process.kill()
        process.wait()
        process.stderr.close()
