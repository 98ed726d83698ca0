"""OpenAI's Agents SDK: a session as the executor of a `ShellTool`.

The hosted `CodeInterpreterTool` needs none of this: it works through `cellblock serve`.
Source: the package openai-agents, `tool.py`.
"""

from collections.abc import Awaitable, Callable

from agents import ShellCallOutcome, ShellCommandOutput, ShellCommandRequest, ShellResult

from runner.faces.shell import status_of
from sandbox import AsyncSession

SHOWN_CHARS = 30_000


def shell_executor(
    session: AsyncSession, *, shown_chars: int = SHOWN_CHARS
) -> Callable[[ShellCommandRequest], Awaitable[ShellResult]]:
    """What `ShellTool(executor=...)` is given: the commands of a call run one after the other.

    The first that runs out of time is the last. Raises SandboxError when the session is gone.
    """

    async def execute(request: ShellCommandRequest) -> ShellResult:
        action = request.data.action
        timeout_s = None if action.timeout_ms is None else action.timeout_ms / 1000
        most = min(action.max_output_length or shown_chars, shown_chars)
        output = []
        for command in action.commands:
            done = await session.exec(command, timeout_s=timeout_s)
            is_late = done.timed_out
            outcome = ShellCallOutcome(
                type="timeout" if is_late else "exit",
                exit_code=None if is_late else status_of(done),
            )
            stderr = done.stderr.decode("utf-8", "replace")
            output.append(
                ShellCommandOutput(
                    stdout=done.text[:most], stderr=stderr[:most], outcome=outcome, command=command
                )
            )
            if is_late:
                break
        return ShellResult(output=output, max_output_length=action.max_output_length)

    return execute
