"""E2B's wire as its clients speak it, without them."""

import base64
import json
from typing import Any

import httpx2
from serving import KEY

API = {"x-api-key": KEY}


class Wire:
    """One server's E2B services."""

    def __init__(self, origin: str) -> None:
        self.http = httpx2.Client(base_url=f"{origin}/e2b", timeout=60)

    def __enter__(self) -> "Wire":
        return self

    def __exit__(self, *_: object) -> None:
        self.http.close()

    def api(self, method: str, path: str, body: object = None, **more: Any) -> httpx2.Response:
        """A call of the API, with the test's key unless `headers` say otherwise."""
        headers = more.pop("headers", API)
        return self.http.request(method, path, json=body, headers=headers, **more)

    def create(self, **fields: object) -> "Box":
        """A new sandbox."""
        body = {"templateID": "code-interpreter-v1", "metadata": {}, "envVars": {}, **fields}
        made = self.api("POST", "/v2/sandboxes", body)
        assert made.status_code == 201, made.text
        return Box(self, made.json())


class Box:
    """One sandbox by its id and token."""

    def __init__(self, wire: Wire, made: dict[str, Any]) -> None:
        self.wire, self.made, self.id = wire, made, made["sandboxID"]
        self.headers = {"e2b-sandbox-id": self.id, "x-access-token": made["envdAccessToken"]}

    def call(self, method: str, path: str, body: object = None, **more: Any) -> httpx2.Response:
        """A call of one of the sandbox's services."""
        headers = {**self.headers, **more.pop("headers", {})}
        if body is not None:
            more["json"] = body
        return self.wire.http.request(method, path, headers=headers, **more)

    def execute(self, code: str, **more: object) -> list[dict[str, Any]]:
        """The lines of a snippet; the last one says that it is over."""
        body = {"code": code, "context_id": None, "language": None, "env_vars": None, **more}
        answer = self.call("POST", "/execute", body)
        assert answer.status_code == 200, answer.text
        lines = [json.loads(line) for line in answer.text.splitlines()]
        assert lines.pop() == {"type": "end_of_execution"}
        return lines

    def value(self, code: str, **more: object) -> str:
        """The text of a snippet's value."""
        [text] = [line["text"] for line in self.execute(code, **more) if line["type"] == "result"]
        return str(text)

    def kill(self) -> int:
        """End it; the status of the answer."""
        return self.wire.api("DELETE", f"/sandboxes/{self.id}").status_code

    def rpc(self, method: str, body: object, **headers: str) -> httpx2.Response:
        """A plain call over Connect: `filesystem.Filesystem/Stat`."""
        return self.call("POST", f"/{method}", body, headers=headers)

    def stream(self, method: str, *messages: object, **headers: str) -> list[dict[str, Any]]:
        """A call over Connect that streams: its messages, and its end last."""
        data = b"".join(framed(message) for message in messages)
        headers = {"content-type": "application/connect+json", **headers}
        answer = self.call("POST", f"/{method}", headers=headers, content=data)
        assert answer.headers["content-type"] == "application/connect+json", answer.text
        return unframed(answer.content)

    def run(self, command: str, *, stdin: bool = False, **config: object) -> list[dict[str, Any]]:
        """A command for the shell: its events, and its end last."""
        process = {"cmd": "/bin/bash", "args": ["-l", "-c", command], **config}
        return self.stream("process.Process/Start", {"process": process, "stdin": stdin})


def framed(message: object) -> bytes:
    """A message as it goes in a stream."""
    data = json.dumps(message).encode()
    return b"\0" + len(data).to_bytes(4, "big") + data


def unframed(content: bytes) -> list[dict[str, Any]]:
    """The messages of a whole stream; the last one is its end."""
    found = []
    while content:
        flags, size = content[0], int.from_bytes(content[1:5], "big")
        found.append(json.loads(content[5 : 5 + size]))
        content = content[5 + size :]
        assert flags == (0 if content else 2)
    return found


def output(events: list[dict]) -> dict[str, bytes]:
    """What a command wrote on its streams."""
    found = {"stdout": b"", "stderr": b""}
    for one in events:
        for stream, data in one.get("event", {}).get("data", {}).items():
            found[stream] += base64.b64decode(data)
    return found
