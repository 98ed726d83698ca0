"""Refusals of the proxy beside what the guest told of the same requests."""

from sandbox.outcome import Attempt, Denial
from sandbox.trace.proxy_refusals import joined


def denial(count: int, method: str = "GET", host: str = "a.example") -> Denial:
    return Denial(
        layer="network",
        tried=f"{method} {host}:80",
        rule="network",
        arguments={"method": method, "host": host, "port": "80"},
        allow_with=f'network = ["{host}:80"]',
        sentence="It was not sent.",
        count=count,
    )


def told(count: int, path: str = "/", line: int = 1, host: str = "a.example") -> Attempt:
    url = f"http://{host}{path}"
    return Attempt(
        layer="network",
        action="request",
        tried=url,
        arguments={"host": host, "port": "80", "url": url, "method": "GET"},
        line=line,
        is_allowed=True,
        is_guests_word=True,
        count=count,
    )


def short(attempts: tuple[Attempt, ...]) -> list[tuple[str, int, bool]]:
    return [(one.arguments.get("url", ""), one.count, one.is_allowed) for one in attempts]


def test_a_refusal_takes_url_and_line_from_the_guest():
    found = joined([told(2, "/x", line=7)], [denial(2)])
    [attempt] = found.attempts
    assert attempt.arguments["url"] == "http://a.example/x"
    assert (attempt.tried, attempt.line, attempt.is_guests_word) == ("GET a.example:80", 7, False)
    assert [one.line for one in found.denials] == [7]


def test_a_refusal_answers_for_as_many_requests_as_it_counts():
    found = joined([told(2, "/x"), told(3, "/y")], [denial(4)])
    assert short(found.attempts) == [
        ("http://a.example/x", 2, False),
        ("http://a.example/y", 2, False),
        ("http://a.example/y", 1, True),
    ]
    found = joined([told(1, "/x")], [denial(4)])
    assert short(found.attempts) == [("", 3, False), ("http://a.example/x", 1, False)]


def test_requests_of_another_method_or_host_are_left_alone():
    others = [told(1, host="b.example"), told(1)]
    found = joined(others, [denial(1, "POST")])
    assert found.attempts[1:] == tuple(others)
    assert (found.attempts[0].tried, found.attempts[0].line) == ("POST a.example:80", 0)


def test_a_tunnel_is_the_request_of_any_method():
    found = joined([told(1, "/x")], [denial(1, "CONNECT")])
    assert short(found.attempts) == [("http://a.example/x", 1, False)]


def test_what_was_counted_and_not_listed_takes_no_request_of_the_guest():
    further = Denial(layer="network", tried="further requests", rule="see before", count=9)
    found = joined([told(1)], [further])
    assert short(found.attempts) == [("", 9, False), ("http://a.example/", 1, True)]
