"""Parts of items: what stands in a call, what a run gave, what was spent."""

from collections.abc import Mapping

from pydantic import JsonValue

from runner.dialects.response_items.item_stream import Json
from runner.tools.arguments import read
from runner.transcript import CodeRun, ToolCall, Usage


def code_of(call: ToolCall) -> str:
    """The code of a call of the interpreter; empty when there is none to be read."""
    code = arguments_of(call, "code").get("code", "")
    if isinstance(code, list):
        return "\n".join(map(str, code))
    return code if isinstance(code, str) else ""


def arguments_of(call: ToolCall, main: str) -> Mapping[str, JsonValue]:
    """What can be read of a call's arguments."""
    return read(call.arguments, main=main).values


def outputs_json(run: CodeRun) -> list[Json]:
    """Logs first, then images: clients read the logs of the first output."""
    outputs: list[Json] = []
    if run.logs or run.images:
        outputs.append({"type": "logs", "logs": run.logs})
    return outputs + [{"type": "image", "url": url} for url in run.images]


def usage_json(usage: Usage, counts: Mapping[str, int]) -> Json:
    """The usage object. `x_tools` is always there: clients read it without asking."""
    tools = {name: {"count": count} for name, count in counts.items()}
    return {
        "input_tokens": usage.input_tokens,
        "input_tokens_details": {"cached_tokens": usage.cached_tokens, "cache_write_tokens": 0},
        "output_tokens": usage.output_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        "total_tokens": usage.total_tokens,
        "x_tools": {"code_interpreter": {"count": 0}, **tools},
    }
