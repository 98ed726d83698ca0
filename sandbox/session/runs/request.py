"""SnippetRequest: what one call of `run` asks for, checked."""

import json
from typing import NamedTuple

from sandbox.errors import PolicyError
from sandbox.policy.arguments import check_name, check_type
from sandbox.policy.limits import Limits, merged
from sandbox.protocol.messages import CODE_CAP_BYTES, TO_GUEST_CAP_BYTES
from sandbox.session.host_tools import TOOLS_RIGHT, Tools

NO_TOOLS = Tools({})


class SnippetRequest(NamedTuple):
    """A snippet, what it reads, and what it may spend. Made by `of`."""

    code: str
    stdin: str | None
    limits: Limits
    script: str | None
    """The name of the program that it is, empty for one without; None for a snippet."""
    tools: Tools
    """Functions of the host that it may call."""
    function: str = ""
    """Of a preloaded module, `module:name`: it is called, and `code` is what it is given."""

    @classmethod
    def of(
        cls,
        code: str,
        *,
        stdin: str | None,
        limits: Limits | None,
        policy_limits: Limits,
        script: str | None = None,
        tools: Tools = NO_TOOLS,
    ) -> "SnippetRequest":
        """A request within the limits of a policy. Raises PolicyError."""
        allowed = merged(policy_limits, limits)
        check_arguments(code, stdin=stdin, script=script)
        check_type("tools", tools, Tools, TOOLS_RIGHT)
        return cls(code, stdin, allowed, script, tools)


def check_arguments(code: object, *, stdin: str | None, script: str | None) -> None:
    """Raise PolicyError for what no session takes, here or elsewhere."""
    check_code(code)
    if stdin is not None:
        check_type("stdin", stdin, str, "Give what the snippet reads as a str")
    if script is not None:
        check_name("script", script, "Give the path of a program")
    if script and "\0" in script:
        raise PolicyError("script", f"is {script[:80]!r}", "Give the path of a program")
    if stdin:
        _check_length("stdin", stdin)


def check_code(code: object) -> None:
    """Raise PolicyError for code that is no text, or longer than a session takes."""
    # Half a surrogate pair is the compiler's to refuse, with its place.
    check_type("code", code, str, 'Give the code as a str, such as "print(1)"')
    if isinstance(code, str):
        _check_length("code", code)


def _check_length(name: str, text: str) -> None:
    """Raise PolicyError for a text that its half of a frame to the guest could not hold."""
    size = len(text)
    if TO_GUEST_CAP_BYTES // 24 < size <= CODE_CAP_BYTES:
        size = len(json.dumps(text)) // 2  # Escaped, a character takes up to 12 bytes.
    if size > CODE_CAP_BYTES:
        raise PolicyError(
            name,
            f"has {len(text)} characters, about {CODE_CAP_BYTES} fit",
            "Put it into a file of the workspace",
        )
