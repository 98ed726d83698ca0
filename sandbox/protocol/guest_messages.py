"""Messages of the guest channel: host <-> one session process, hostile from its first snippet on.

A bound in a message from the guest is what keeps the host's memory and time: none is for show.
"""

import json
from typing import Annotated, Literal

from sandbox.protocol.bounds import (
    NAME_CAP,
    Count,
    GroupCount,
    Line,
    Name,
    Nonce,
    Pid,
    flag,
    items,
    mapping,
    optional_text,
    row,
    scalar,
    text,
    whole,
    word,
)
from sandbox.protocol.codec import Message, message, pack_body

MiB = 1024 * 1024
CODE_CAP_BYTES = 16 * MiB
"""Longest source text of one snippet, encoded."""
TO_GUEST_CAP_BYTES = 72 * MiB
"""Longest frame that the guest accepts from the host: code and stdin, escaped by JSON."""
TO_HOST_CAP_BYTES = 15 * MiB
"""Longest frame that the host accepts from the guest; one display bundle at its cap fits."""
TRUSTED_CAP_BYTES = 8 * MiB
"""Longest frame that the host accepts from a zygote or init."""
TEXT_CAP = 1_000_000
"""Characters of an echo, a traceback, an error message."""
ROWS_CAP = 2_000
NO_PROCESS = "no process could be made for a copy"
"""Prefix of a refusal after a failed fork. The sender may already be in the branch's namespaces."""

Code = Annotated[str, text(CODE_CAP_BYTES)]
Text = Annotated[str, text(TEXT_CAP)]
_NAME = text(NAME_CAP)
_LINE = whole(0, 2**31)


@message(20, "to_guest")
class Run(Message):
    """Run a snippet. With `survive`, a descriptor comes along: the channel of the standby.

    `script` is None for a snippet after which the session goes on. Otherwise the code ends as a
    program does, and `script` is its path, empty if it has none.
    """

    nonce: Nonce
    number: Count
    code: Code
    stdin: Annotated[str | None, optional_text(CODE_CAP_BYTES)]
    survive: Annotated[bool, flag()]
    script: Annotated[str | None, optional_text(NAME_CAP)] = None
    tools: Annotated[str, text(MiB)] = ""
    """The functions of the host that it may call, as JSON; empty for none."""


@message(21, "to_guest")
class ForkCopy(Message):
    """Fork a copy of this process that waits on the channel whose descriptor comes along."""

    nonce: Nonce


@message(22, "to_guest")
class Check(Message):
    """Say what `code` would need and what the policy would refuse. Runs nothing."""

    nonce: Nonce
    code: Code


@message(23, "to_guest")
class Measure(Message):
    """Say how much memory only this process holds."""

    nonce: Nonce


@message(24, "to_guest")
class EnterNamespaces(Message):
    """Fork a copy into a branch. Descriptors: channel, stdout, stderr, namespaces, cgroups.

    The answer, `CopyResult`, comes when the copy is in the namespaces. The session process takes
    the first of several such messages, finds out whether it can be branched at all, and forks an
    entrant; the entrant takes the others. With 0 namespaces nothing is forked: the answer comes
    when the entrant and all that it forked have left this pid namespace.
    """

    nonce: Nonce
    namespaces: Annotated[int, whole(0, 16)]
    cgroups: GroupCount


@message(25, "to_guest")
class Warm(Message):
    """Do once, ahead of need, what every snippet makes the interpreter do. There is no answer."""


@message(30, "from_guest")
class CopyReady(Message):
    """First word of a copy on its own channel; `pid` as its pid namespace numbers it."""

    pid: Pid


@message(31, "from_guest")
class Display(Message):
    """One MIME bundle; binary types as base64 text. `metadata` is a flat map of JSON scalars.

    It takes the place of an earlier one of the same `number`.
    """

    nonce: Nonce
    bundle: Annotated[dict[str, str], mapping(text(TO_HOST_CAP_BYTES), 32)]
    metadata: Annotated[dict[str, str | int | float | bool | None], mapping(scalar, 64)]
    number: Count = 0


@message(42, "from_guest")
class ClearDisplays(Message):
    """Forget what the snippet has displayed so far."""

    nonce: Nonce


@message(32, "from_guest")
class Done(Message):
    """The snippet ended by itself. `ended` says how; the error fields are empty unless it raised.

    `names` are rows (change, name, type, size text, size in bytes) of session variables.
    `in_place` says why the process could not be copied before the snippet; empty when it was.
    """

    nonce: Nonce
    ended: Annotated[
        Literal["completed", "raised", "refused"], word("completed", "raised", "refused")
    ]
    text: Annotated[str | None, optional_text(TEXT_CAP)]
    error_type: Name
    error_message: Text
    error_traceback: Text
    error_errno: Annotated[int, whole(0, 4096)]
    refused_line: Line
    in_place: Name
    names: Annotated[
        list[list[str | int]],
        items(
            row(word("added", "changed", "removed"), _NAME, _NAME, _NAME, whole(0, 2**62)),
            ROWS_CAP,
        ),
    ]
    exit_code: Annotated[int, whole(-2, 255)] = -1
    """What a script would have ended with; -2 for a text, -1 unless it raised `SystemExit`."""
    slow_import: Name = ""
    """The package whose first import took longest, if that is worth a word."""
    slow_import_ms: Annotated[int, whole(0, 2**31)] = 0


@message(33, "from_guest")
class Checked(Message):
    """Answer to `Check`: rows (module, line, action, rule), rows (line, construct, reason).

    `findings` are rows (line, kind, severity, what, reason) for a reviewer.
    """

    nonce: Nonce
    imports: Annotated[
        list[list[str | int]],
        items(row(_NAME, _LINE, word("allow", "refuse", "log", "kill"), _NAME), ROWS_CAP),
    ]
    refusals: Annotated[list[list[str | int]], items(row(_LINE, _NAME, _NAME), ROWS_CAP)]
    syntax_error: Text
    findings: Annotated[
        list[list[str | int]],
        items(row(_LINE, _NAME, word("note", "warning", "danger"), _NAME, _NAME), ROWS_CAP),
    ]


@message(34, "from_guest")
class Denied(Message):
    """A layer refused something and the guest goes on; shown as a denial of the outcome."""

    nonce: Nonce
    layer: Annotated[str, text(64)]
    tried: Name
    rule: Name
    hint: Name
    line: Line = 0
    """Of the snippet; 0 where no line is known."""


ATTEMPTS_CAP = 400
"""Different attempts of one snippet that are told; the others are counted."""


@message(60, "from_guest")
class Attempted(Message):
    """A traced snippet tried something, for the first time; seen inside the interpreter."""

    nonce: Nonce
    layer: Annotated[str, text(64)]
    action: Annotated[str, text(64)]
    tried: Name
    arguments: Annotated[dict[str, str], mapping(_NAME, 8)]
    line: Line
    is_allowed: Annotated[bool, flag()]
    rule: Name


@message(61, "from_guest")
class AttemptCounts(Message):
    """How often each `Attempted` of the snippet came, in their order, and how many were left out.

    Comes before `Done`.
    """

    nonce: Nonce
    counts: Annotated[list[int], items(whole(1, 2**31), ATTEMPTS_CAP)]
    left_out: Count


@message(35, "from_guest")
class CopyResult(Message):
    """Answer of the original to `ForkCopy`; `refusal` says why it could not be copied, if so.

    With a refusal it also comes on the channel that the copy was to have.
    """

    nonce: Nonce
    refusal: Name


@message(36, "from_guest")
class Measured(Message):
    """Answer to `Measure`."""

    nonce: Nonce
    private_bytes: Count


def copy_ready_frame(pid: int) -> bytes:
    """What `pack` makes of CopyReady, for a process that must touch few pages."""
    return pack_body(CopyReady, b'{"pid":%d}' % pid)


_COMPLETED = json.dumps(Done("%s", "completed", None, "", "", "", 0, 0, "", []).__dict__)


def completed_frame(nonce: str) -> bytes:
    """What `pack` makes of a Done that has nothing to tell, for such a process."""
    return pack_body(Done, (_COMPLETED % nonce).encode())


QUERIES = ("set", "get", "variables", "complete", "inspect", "is_complete")


@message(26, "to_guest")
class Query(Message):
    """Answer about the variables, between snippets. `set` and `get` bring the value's file along.

    `text` is the code, the name, or for `set` the kind of value and the name.
    """

    nonce: Nonce
    kind: Annotated[str, word(*QUERIES)]
    text: Code
    number: Count


@message(28, "to_guest")
class Call(Message):
    """Call a function of a preloaded module, `module:name`, with a text. Answered as `Run` is."""

    nonce: Nonce
    function: Name
    argument: Code


@message(43, "from_guest")
class Answered(Message):
    """Answer to `Query`: a JSON text, or why there is none."""

    nonce: Nonce
    body: Text
    refusal: Name


ARGUMENTS_CAP = 2_000_000
ANSWER_CAP = 16_000_000
"""Characters of a call's arguments, and of its result, as JSON."""


@message(44, "from_guest")
class ToolCall(Message):
    """Call a function of the host. `arguments` are a JSON object with `args` and `kwargs`."""

    nonce: Nonce
    id: Count
    name: Name
    arguments: Annotated[str, text(ARGUMENTS_CAP)]


@message(27, "to_guest")
class ToolAnswer(Message):
    """Answer to `ToolCall` `id`: a JSON text, or the type and message of what was raised."""

    id: Count
    result: Annotated[str, text(ANSWER_CAP)]
    error_type: Name
    error_message: Text
