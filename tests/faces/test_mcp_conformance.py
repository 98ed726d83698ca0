"""The Model Context Protocol's own conformance suite against `/mcp`: our doors, gate and keys.

`make test-faces` brings the suite and a Node that it runs on; elsewhere CELLBLOCK_NODE_MODULES
names the folder that `npm install` made.
"""

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("mcp", reason="pip install 'mcp>=2.3'")

import mcp_fixtures
import serving

from runner.faces import mcp_http

MODULES = Path(os.environ.get("CELLBLOCK_NODE_MODULES", "node_modules"))
NODE = MODULES / ".bin" / "node"
SUITE = MODULES / "@modelcontextprotocol" / "conformance" / "dist" / "index.js"
ENDS_WITHIN_S = 300
RAN = re.compile(r"^(.) ([a-z0-9-]+): \d+ passed, (\d+) failed$", re.MULTILINE)
NOT_SCORED = re.compile(r"^  . ([a-z0-9-]+) \((\S+)\)$", re.MULTILINE)
SCENARIOS = {"2025-11-25": 30, "2026-07-28": 37}
"""How many a revision's frozen list has for servers."""
NEED_NO_FIXTURE = {
    "2025-11-25": {
        "dns-rebinding-protection",
        "ping",
        "prompts-list",
        "resources-list",
        "server-initialize",
        "server-session-lifecycle",
        "server-sse-multiple-streams",
        "tools-list",
    },
    "2026-07-28": {
        "caching",
        "dns-rebinding-protection",
        "input-required-result-unsupported-methods",
        "prompts-list",
        "resources-list",
        "sep-2164-resource-not-found",
        "server-sse-multiple-streams",
        "tools-list",
    },
}
NOT_DONE = {
    "2025-11-25": {
        # The suite says of both that its own server fails them.
        "json-schema-2020-12": "a tool's schema is what the package makes of its function",
        "server-sse-polling": "a stream that breaks is not taken up again",
    },
    "2026-07-28": {
        "http-custom-header-server-validation": "no argument of a tool travels as a header",
        "http-header-validation": "the package looks at one header less than the draft",
        "json-schema-2020-12": "a tool's schema is what the package makes of its function",
    },
}
"""Of what is not scored, the scenarios that fail; those of the extension for tasks do, too."""
pytestmark = [
    pytest.mark.slow,
    # What the newest revision takes back is still asked for by the one before.
    pytest.mark.filterwarnings("ignore::mcp.shared.exceptions.MCPDeprecationWarning"),
    pytest.mark.skipif(
        not SUITE.exists(),
        reason="npm install @modelcontextprotocol/conformance@0.2.0-alpha.12 node@22, and name its"
        " node_modules in CELLBLOCK_NODE_MODULES; or: make test-faces ARGUMENTS=mcp_conformance",
    ),
]


class WithKey:
    """An app whose requests show the key: the suite has no option for one."""

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            key = (b"authorization", f"Bearer {serving.KEY}".encode())
            scope = scope | {"headers": [*scope["headers"], key]}
        await self._app(scope, receive, send)


@pytest.fixture(scope="module", params=["as it is", "with fixtures"])
def served(request: pytest.FixtureRequest) -> Iterator[tuple[str, str]]:
    """Which tools it has, and the URL of the server."""
    made, settings = mcp_http.make_server_over, serving.settings_of

    def keyed(services: Any) -> Any:
        found = settings(services)
        found.app = WithKey(found.app)
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(serving, "settings_of", keyed)
        if request.param == "with fixtures":
            patch.setattr(
                mcp_http, "make_server_over", lambda source: mcp_fixtures.add(made(source))
            )
        with serving.serving(serving.directory(serving.TalkModel({}))) as running:
            yield request.param, f"{running.origin}/mcp"


@pytest.mark.parametrize("revision", SCENARIOS)
def test_scenarios_of_a_revision(served: tuple[str, str], revision: str, tmp_path: Path) -> None:
    which, url = served
    command = [NODE, SUITE, "server", "--url", url, "--requirements", revision, "-o", tmp_path]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=ENDS_WITHIN_S)
    results = {name: int(failed) == 0 for _, name, failed in RAN.findall(ran.stdout)}
    unscored = {name for name, _ in NOT_SCORED.findall(ran.stdout)}
    scored = {name: passed for name, passed in results.items() if name not in unscored}
    assert len(scored) == SCENARIOS[revision], ran.stdout + ran.stderr
    passed = {name for name, is_passed in results.items() if is_passed}
    if which == "as it is":
        assert NEED_NO_FIXTURE[revision] <= passed, ran.stdout
        return
    assert scored.keys() <= passed, ran.stdout
    assert ran.returncode == 0
    failed = {name for name in results.keys() - passed if not name.startswith("tasks-")}
    assert failed == NOT_DONE[revision].keys(), ran.stdout
