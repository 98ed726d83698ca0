"""The code interpreter: snippets of one conversation, run in one session of the engine."""

import asyncio
import base64
import posixpath
from collections.abc import Sequence
from typing import Protocol
from urllib.parse import quote

from runner.models.port import ToolSpec
from runner.tools.arguments import read
from runner.tools.more import more_of
from runner.tools.shown import Shown, shorten
from runner.transcript import CodeRun, MadeFile, ToolCall, ToolResult
from sandbox import (
    Artifact,
    AsyncSession,
    Died,
    LimitExceeded,
    Limits,
    Outcome,
    PoolFull,
    Raised,
    Refused,
    SandboxError,
    SessionError,
    as_on_a_terminal,
)

NAME = "code_interpreter"
ALIASES = frozenset(
    {"python", "execute_python", "run_python", "python_interpreter", "code-interpreter"}
)
"""Names that models call the interpreter by, whatever its description says."""
SHOWN_CHARS = 8_000
IMAGES_KEPT = 16
PATHS_TOLD = 50
NAMES_TOLD = 20
IMAGE_TYPES = ("image/png", "image/jpeg", "image/webp", "image/gif", "image/svg+xml")

DESCRIPTION = (
    "Run Python code in a sandbox and get what it printed and the value of its last expression,"
    " as in a notebook. Variables, imports and files persist from one call to the next."
    " Files are in the current directory, /mnt/data. There is no network."
)
SPEC = ToolSpec(
    name=NAME,
    description=DESCRIPTION,
    parameters={
        "type": "object",
        "properties": {"code": {"type": "string", "description": "The Python code to run."}},
        "required": ["code"],
    },
)


class SessionSource(Protocol):
    """Where a conversation's session comes from: made when first needed, kept between requests."""

    @property
    def container_id(self) -> str:
        """Name of the container that the session belongs to; empty where there is none."""
        ...

    async def session(self) -> tuple[AsyncSession, str]:
        """Return the live session, and what to tell the model when it is not the one of before."""
        ...

    async def keep(
        self, session: AsyncSession, artifacts: Sequence[Artifact]
    ) -> tuple[MadeFile, ...]:
        """Take over what a snippet did to files; those that it made or changed come back."""
        ...


class CodeInterpreter:
    """Runs what the model writes. One call at a time: two calls of one turn run in order."""

    def __init__(
        self,
        source: SessionSource,
        *,
        limits: Limits | None = None,
        paths: Sequence[str] = (),
        shown_chars: int = SHOWN_CHARS,
        retry_words: str = "",
        functions: str = "",
    ) -> None:
        """`functions` tells the model of those that its code may call."""
        self._functions = functions
        self._source = source
        self._limits = limits
        self._paths = paths
        self._shown_chars = shown_chars
        self._retry_words = retry_words
        self._turn = asyncio.Lock()

    @property
    def spec(self) -> ToolSpec:
        """How the tool, and the files that are there, are described to the model."""
        if not self._paths and not self._functions:
            return SPEC
        names = ", ".join(self._paths[:PATHS_TOLD])
        more = f" and {len(self._paths) - PATHS_TOLD} more" if self._paths[PATHS_TOLD:] else ""
        files = f" Files that are there: {names}{more}." if names else ""
        return SPEC.model_copy(update={"description": f"{DESCRIPTION}{files}{self._functions}"})

    @property
    def aliases(self) -> frozenset[str]:
        return ALIASES

    @property
    def container_id(self) -> str:
        return self._source.container_id

    async def run(self, call: ToolCall) -> ToolResult:
        """Run the snippet in `call`. Raises SandboxError when there is no engine to run it."""
        code, problem = code_of(call.arguments)
        if problem:
            run = CodeRun(code="", container_id=self.container_id, notice=problem, status="refused")
            return self._result(call, run, Shown(problem, is_error=True))
        async with self._turn:
            session, words = await self._source.session()
            try:
                outcome = await session.run(code, limits=self._limits)
            except PoolFull:
                raise
            except SessionError as error:
                return self._lost(call, code, error)
            made = outcome.artifacts
            files = await self._source.keep(session, made) if made else ()
        run = code_run(code, outcome, container_id=self.container_id, files=files)
        return self._result(call, run, shown_of(run, outcome, words, budget=self._shown_chars))

    async def close(self) -> None:
        """Return the session belongs to its source, which outlives the request."""

    def _lost(self, call: ToolCall, code: str, error: SandboxError) -> ToolResult:
        notice = (
            "The sandbox lost this session while the code ran. Its variables are gone, and what"
            " this call did to files; the next call starts in a new session."
        )
        run = CodeRun(code=code, container_id=self.container_id, notice=notice, status="failed")
        return self._result(call, run, Shown(notice, is_error=True))

    def _result(self, call: ToolCall, run: CodeRun, shown: Shown) -> ToolResult:
        text = shown.text
        if self._retry_words and (shown.is_error or shown.is_silent):
            text = f"{text}\n{self._retry_words}"
        return ToolResult(
            call_id=call.id, tool=NAME, shown=text, is_error=shown.is_error, details=run
        )


def code_of(arguments: str) -> tuple[str, str]:
    """Return the code in `arguments`, or what to tell the model when there is none."""
    found = read(arguments, main="code")
    if found.problem:
        return "", found.problem
    code = found.values.get("code")
    if isinstance(code, list) and all(isinstance(line, str) for line in code):
        code = "\n".join(str(line) for line in code)
    if not isinstance(code, str):
        return "", 'The arguments have no string \'code\'. Send {"code": "..."}.'
    return code, ""


# ---- what is kept -------------------------------------------------------------------------------


def code_run(
    code: str, outcome: Outcome, *, container_id: str, files: tuple[MadeFile, ...]
) -> CodeRun:
    """Return the whole record of a run."""
    return CodeRun(
        code=code,
        container_id=container_id,
        stdout=outcome.stdout,
        stderr=outcome.stderr,
        text=outcome.text,
        traceback=outcome.error.traceback if isinstance(outcome, Raised) else "",
        notice=notice_of(outcome),
        status=outcome.status,
        images=images_of(outcome),
        files=files,
        more=more_of(outcome, files),
    )


def images_of(outcome: Outcome) -> tuple[str, ...]:
    """Pictures that the snippet showed, as data URLs; one per display, the best type of each."""
    found = []
    for bundle in outcome.displays:
        mime = next((mime for mime in IMAGE_TYPES if mime in bundle), None)
        if mime is None:
            continue
        data = bundle[mime]
        if mime == "image/svg+xml":
            data = base64.b64encode(data.encode()).decode()
        found.append(f"data:{mime};base64,{''.join(data.split())}")
    return tuple(found[:IMAGES_KEPT])


LIMIT_WORDS = {
    "wall_s": "it ran longer than the {allowed:g} s that a call may take",
    "cpu_s": "it used more than {allowed:g} s of CPU time",
    "memory_bytes": "it used more than {mib:g} MiB of memory",
    "output_bytes": "it printed more than {mib:g} MiB",
    "processes": "it started more than {allowed:g} processes or threads",
    "disk_bytes": "its files took more than {mib:g} MiB",
}
LIMIT_ADVICE = {
    "wall_s": "Do less in one call, or use a faster method.",
    "cpu_s": "Do less in one call, or use a faster method.",
    "memory_bytes": "Work on smaller pieces.",
    "output_bytes": "Print a summary, or write to a file.",
    "processes": "Use fewer.",
    "disk_bytes": "Delete files that are not needed, or write less.",
}
STATE_WORDS = {
    "kept": "Variables are as the code left them.",
    "rolled_back": "Variables are as they were before this call; files that it wrote stay.",
    "lost": "All variables of the session are gone; define what you need again.",
}


def _state_words(outcome: Outcome) -> str:
    words = STATE_WORDS[outcome.state]
    if outcome.state == "lost" and outcome.files_left:
        return f"{words} Files are still there."
    return words


def notice_of(outcome: Outcome) -> str:
    """Return why the snippet did not end by itself, and what became of its variables."""
    if isinstance(outcome, LimitExceeded):
        reason = LIMIT_WORDS[outcome.limit].format(
            allowed=outcome.allowed, mib=outcome.allowed / 2**20
        )
        return f"Stopped: {reason}. {LIMIT_ADVICE[outcome.limit]} {_state_words(outcome)}"
    if isinstance(outcome, Died):
        how = (
            f"exited with status {outcome.exit_code}"
            if outcome.exit_code is not None
            else f"was ended by {outcome.signal}"
        )
        return f"The Python process {how}. {_state_words(outcome)}"
    if isinstance(outcome, Refused):
        place = f" (line {outcome.line})" if outcome.line else ""
        return f"Not run: {outcome.reason}{place}. {_state_words(outcome)}"
    if isinstance(outcome, Raised) and outcome.state != "kept":
        return _state_words(outcome)
    return ""


# ---- what the model is shown --------------------------------------------------------------------


def shown_of(run: CodeRun, outcome: Outcome, words: str, *, budget: int) -> Shown:
    """Return what the model reads of a run, within `budget` characters."""
    is_error = run.status != "completed"
    stdout_cut, stderr_cut = outcome.truncated.stdout, outcome.truncated.stderr
    parts = [words] if words else []
    streams = [
        ("", as_on_a_terminal(run.stdout), stdout_cut.dropped_bytes),
        ("stderr:\n", as_on_a_terminal(run.stderr), stderr_cut.dropped_bytes),
        ("", run.text or "", 0),
        ("", run.traceback, 0),
    ]
    filled = [stream for stream in streams if stream[1]]
    share = budget // max(len(filled), 1)
    spare = sum(max(share - len(text), 0) for _, text, _ in filled)
    for title, text, dropped in filled:
        room = max(share, min(len(text), share + spare))
        spare -= max(room - share, 0)
        parts.append(title + shorten(text.removesuffix("\n"), room, dropped_bytes=dropped))
    parts += [run.notice] if run.notice else []
    parts += [
        f"Refused while it ran: {denial.tried}. {denial.hint or denial.rule}"
        for denial in outcome.denials[:4]
    ]
    if run.images:
        count = len(run.images)
        parts.append(f"[{count} image{'s' if count > 1 else ''} shown to the user]")
    if run.files:
        parts.append(f"[files written: {_names(run.files)}]")
        for reason in dict.fromkeys(item.not_kept for item in run.files if item.not_kept):
            names = _names([item for item in run.files if item.not_kept == reason])
            parts.append(f"[only until this session ends: {names}: {reason}]")
    is_silent = not parts
    if is_silent:
        parts = ["[the code ran and printed nothing]"]
    return Shown("\n".join(parts), is_error=is_error, is_silent=is_silent)


def _names(files: Sequence[MadeFile]) -> str:
    names = ", ".join(posixpath.join("/mnt/data", item.path) for item in files[:NAMES_TOLD])
    more = f" and {len(files) - NAMES_TOLD} more" if len(files) > NAMES_TOLD else ""
    return names + more


def sandbox_link(path: str) -> str:
    """Return how a model writes a link to a file of the workspace."""
    return f"sandbox:{posixpath.join('/mnt/data', quote(path))}"
