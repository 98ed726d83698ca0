"""Calls as the templates of model families teach to write them: one form a row.

A form says how a block begins and ends; `read_block` gives the calls in it, whatever of the
notations it holds. Sources: the chat templates of the models named in each row.
"""

import ast
import json
import re
from collections.abc import Callable, Collection, Iterator
from typing import NamedTuple

from pydantic import JsonValue

from runner.tools.arguments import repaired
from runner.transcript import compact


class WrittenCall(NamedTuple):
    """A call that stood in text."""

    name: str
    arguments: str


class Form(NamedTuple):
    """How a block of calls is set off from text."""

    opening: str
    closings: tuple[str, ...]
    """Empty for a block that goes on to the end of the turn."""
    families: str
    is_token: bool = False
    """Whether the opening is a token of its own, which no sentence begins with."""
    prefix: str = ""
    """What the tags within begin with."""
    is_plain: bool = False
    """Whether text that is no call may look like it: then only offered tools are called."""


END_TOKENS = ("<|eom_id|>", "<|eot_id|>", "</s>", "<|im_end|>", "<｜end▁of▁sentence｜>")
FORMS = (
    Form("<tool_call>", ("</tool_call>",), "Hermes, Qwen2.5, Qwen3, Qwen3-Coder, GLM-4.5"),
    Form("<function=", ("</function>",), "Qwen3-Coder without the outer tag, Llama 3.1"),
    Form("<function_calls>", ("</function_calls>",), "models taught with XML"),
    Form("<function_call>", ("</function_call>",), "models taught with one call in XML"),
    Form("<functioncall>", ("</functioncall>",), "Glaive, OpenHermes"),
    Form("<invoke name=", ("</invoke>",), "models taught with XML, without the outer tag"),
    Form("<tool_calls>", ("</tool_calls>",), "Jamba, MiniMax-M1"),
    Form("<TOOLCALL>", ("</TOOLCALL>",), "Nemotron", is_token=True),
    Form("<minimax:tool_call>", ("</minimax:tool_call>",), "MiniMax-M2", is_token=True),
    Form("<|python_tag|>", (), "Llama 3.1 and later", is_token=True),
    Form("[TOOL_CALLS]", (), "Mistral, Magistral, Devstral", is_token=True),
    Form("<|tool_call|>", (), "Granite, Phi-4-mini", is_token=True),
    Form("<|tool_call>", (), "Granite", is_token=True),
    Form(
        "<｜tool▁calls▁begin｜>", ("<｜tool▁calls▁end｜>",), "DeepSeek V3, R1, V3.1", is_token=True
    ),
    Form("<｜tool▁call▁begin｜>", ("<｜tool▁call▁end｜>",), "DeepSeek, inner tag", is_token=True),
    Form(
        "<｜DSML｜function_calls>", ("</｜DSML｜function_calls>",), "DeepSeek V3.2", is_token=True
    ),
    Form("<|tool_calls_section_begin|>", ("<|tool_calls_section_end|>",), "Kimi K2", is_token=True),
    Form("<|tool_call_begin|>", ("<|tool_call_end|>",), "Kimi K2, inner tag", is_token=True),
    Form("<|START_ACTION|>", ("<|END_ACTION|>",), "Command A, Command R7B", is_token=True),
    Form("Action: ```json", ("```",), "Command R", is_plain=True),
    Form("functools[", (), "Phi-4-mini", is_plain=True),
    Form("✿FUNCTION✿:", (), "Qwen2, Qwen-Agent", is_token=True),
    Form("<seed:tool_call>", ("</seed:tool_call>",), "Seed-OSS", is_token=True),
    Form("<function name=", ("</function>",), "models taught with XML"),
    Form("<start_function_call>", ("<end_function_call>",), "FunctionGemma", is_token=True),
    Form("<|python_start|>", ("<|python_end|>",), "Llama 4", is_token=True),
    Form("<|tool_call_start|>", ("<|tool_call_end|>",), "LFM2", is_token=True),
    Form("<|action_start|>", ("<|action_end|>",), "InternLM", is_token=True),
    Form("<longcat_tool_call>", ("</longcat_tool_call>",), "LongCat", True, "longcat_"),
    Form("<|tools_prefix|>", ("<|tools_suffix|>",), "Apertus", is_token=True),
    Form("<｜tool_calls_begin｜>", ("<｜tool_calls_end｜>",), "Step3", True, "steptml:"),
)
WHOLE = ("<function=", "<function name=", "<invoke name=", "<|tool_call_begin|>")
"""Openings that are a part of the call itself."""
BY_OPENING = {form.opening: form for form in FORMS}
NAME_KEYS = ("name", "tool", "tool_name")
ARGUMENT_KEYS = ("arguments", "parameters", "args", "input")
# No pattern looks at a character again and again: a model may write anything, and at any length.
FUNCTION = re.compile(
    r"<function(?:=| name=)\s*[\"']?([\w.\-]+)[\"']?\s*>(.*?)(?:</function>|\Z)", re.DOTALL
)
PARAMETER = re.compile(
    r"<parameter=\s*[\"']?([\w.\-]+)[\"']?\s*>(.*?)"
    r"(?:</parameter>(?=\s{0,80}(?:<parameter=|</function>|</tool_call>|\Z))"
    r"|(?=\s{0,80}</function>)|\Z)",
    re.DOTALL,
)
INVOKE = re.compile(
    r"<(?:｜DSML｜)?invoke name=\"([^\"]+)\"\s{0,80}>"
    r"((?:(?!invoke name=).)*?)</(?:｜DSML｜)?invoke>",
    re.DOTALL,
)
INVOKE_PARAMETER = re.compile(
    r"<(?:｜DSML｜)?parameter name=\"([^\"]+)\"([^<>]*)>"
    r"((?:(?!parameter name=).)*?)</(?:｜DSML｜)?parameter>",
    re.DOTALL,
)
ARG_PAIR = re.compile(
    r"<arg_key>((?:(?!<arg_key>).)*?)</arg_key>\s{0,80}"
    r"<arg_value>((?:(?!<arg_key>).)*?)</arg_value>",
    re.DOTALL,
)
DEEP_BEGIN, DEEP_END, DEEP_SEP = (
    "<｜tool▁call▁begin｜>", "<｜tool▁call▁end｜>", "<｜tool▁sep｜>",
)  # fmt: skip
KIMI = re.compile(
    r"<\|tool_call_begin\|>\s{0,80}(?:functions\.)?([\w.\-]{1,256}?)(?::\d{1,9})?\s{0,80}"
    r"<\|tool_call_argument_begin\|>((?:(?!<\|tool_call_begin).)*?)<\|tool_call_end\|>",
    re.DOTALL,
)
BLOCK_CHARS = 400_000
"""A longer block is no call that a tool would take."""
MISTRAL = re.compile(r"\s*([\w.\-]+?)(?:\[CALL_ID\]\w+)?(?:\[ARGS\]|(?=\{))")
PYTHON_CALL = re.compile(r"\A[A-Za-z_][\w.]*\.call\(.*\)\Z", re.DOTALL)
NAME = re.compile(r"[\w.\-]{1,256}")
GEMMA = re.compile(r"\s*call:([\w.\-]{1,256})\{(.*)\}\s*", re.DOTALL)
GEMMA_VALUE = re.compile(r"\s*,?\s*(\w+):(?:<escape>(.*?)<escape>|([^,<>{}]*))", re.DOTALL)


def read_block(
    form: Form, body: str, tools: Collection[str], *, code_tool: str, is_closed: bool
) -> list[WrittenCall]:
    """The calls in the block `body` of `form`; none when it cannot be read whole."""
    if len(body) > BLOCK_CHARS:
        return []
    found = _in_block(form, body, tools, code_tool, is_closed)
    return [] if form.is_plain and any(call.name not in tools for call in found) else found


def _in_block(
    form: Form, body: str, tools: Collection[str], code_tool: str, is_closed: bool
) -> list[WrittenCall]:
    if form.opening == "<|python_tag|>":
        return _python_tag(body, tools, code_tool)
    if form.opening in WHOLE:
        body = form.opening + body + (form.closings[0] if is_closed else "")
    elif form.opening == "functools[":
        body = f"[{body}"
    elif form.opening == "<|tools_prefix|>":
        return _by_name(body)
    elif form.opening == "<|action_start|>":
        kind, _, code = body.strip().partition("\n")
        if kind == "<|interpreter|>" and code_tool in tools:
            return [WrittenCall(code_tool, compact({"code": code}))]
        body = body.strip().removeprefix("<|plugin|>")
    elif form.prefix:
        body = body.replace(f"<{form.prefix}", "<").replace(f"</{form.prefix}", "</")
    body = body.removesuffix("<|/tool_call|>")
    for read in READERS:
        found = read(body)
        if found:
            return found
    return _json_calls(body, may_repair=is_closed)


def _qwen_xml(body: str) -> list[WrittenCall]:
    found: list[WrittenCall] = []
    for name, inner in FUNCTION.findall(body):
        pairs = PARAMETER.findall(inner)
        if not pairs and inner.strip():
            given = _object(inner)
            if given is None:
                return []
            found.append(WrittenCall(name, compact(given)))
            continue
        if "<parameter=" in inner and "</parameter>" not in inner:
            return []
        found.append(WrittenCall(name, compact({key: _value(text) for key, text in pairs})))
    return found


def _invoke_xml(body: str) -> list[WrittenCall]:
    found = []
    for name, inner in INVOKE.findall(body):
        values: dict[str, JsonValue] = {}
        for key, more, text in INVOKE_PARAMETER.findall(inner):
            is_text = 'string="false"' not in more
            values[key] = _value(text) if is_text else _json_or_text(text)
        found.append(WrittenCall(name, compact(values)))
    return found


def _argument_pairs(body: str) -> list[WrittenCall]:
    name, _, _ = body.strip().partition("<arg_key>")
    pairs = ARG_PAIR.findall(body)
    if not pairs or not NAME.fullmatch(name.strip()):
        return []
    values = {key.strip(): _value(text) for key, text in pairs}
    return [WrittenCall(name.strip(), compact(values))]


def _deepseek(body: str) -> list[WrittenCall]:
    """`function<sep>NAME` and fenced JSON, or `NAME<sep>` and JSON, each between two tokens."""
    if DEEP_SEP not in body:
        return []
    pairs = []
    for block in body.split(DEEP_BEGIN):
        head, _, tail = block.partition(DEEP_END)[0].partition(DEEP_SEP)
        if head.strip() == "function":
            head, _, tail = tail.strip().partition("\n")
        if head.strip() or tail.strip():
            pairs.append((head.strip(), tail))
    return _with_objects(pairs)


def _kimi(body: str) -> list[WrittenCall]:
    return _with_objects(KIMI.findall(body))


def _mistral(body: str) -> list[WrittenCall]:
    """NAME[ARGS]{...}NAME[ARGS]{...}, with the opening between them or not."""
    found: list[WrittenCall] = []
    text = body.strip()
    while text:
        text = text.removeprefix("[TOOL_CALLS]")
        named = MISTRAL.match(text)
        if named is None:
            return []
        try:
            value, end = json.JSONDecoder(strict=False).raw_decode(text, named.end())
        except (ValueError, RecursionError):
            return []
        if not isinstance(value, dict):
            return []
        found.append(WrittenCall(named[1], compact(value)))
        text = text[end:].strip()
    return found


def _flowers(body: str) -> list[WrittenCall]:
    """NAME ✿ARGS✿: {...}, again behind ✿FUNCTION✿: each; a result is no part of them."""
    if "✿ARGS✿:" not in body:
        return []
    pairs = []
    for block in body.partition("✿RESULT✿")[0].split("✿FUNCTION✿:"):
        name, _, text = block.partition("✿ARGS✿:")
        pairs.append((name.strip(), text))
    return _with_objects(pairs)


def _hunyuan(body: str) -> list[WrittenCall]:
    """NAME<tool_sep> and fenced JSON."""
    if "<tool_sep>" not in body:
        return []
    pairs = []
    for block in body.replace("</tool_call>", "").split("<tool_call>"):
        name, _, text = block.partition("<tool_sep>")
        if name.strip() or text.strip():
            pairs.append((name.strip(), text))
    return _with_objects(pairs)


def _gemma(body: str) -> list[WrittenCall]:
    """call:NAME{key:<escape>text<escape>,key:1}"""
    call = GEMMA.fullmatch(body)
    if call is None:
        return []
    values: dict[str, JsonValue] = {}
    at = 0
    while call[2][at:].strip():
        pair = GEMMA_VALUE.match(call[2], at)
        if pair is None:
            return []
        values[pair[1]] = pair[2] if pair[2] is not None else _json_or_text(pair[3].strip())
        at = pair.end()
    return [WrittenCall(call[1], compact(values))]


def pythonic_calls(body: str) -> list[WrittenCall]:
    """`[name(key="value"), ...]`, or such calls line by line."""
    try:
        tree = ast.parse(body.strip())
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return []
    found: list[WrittenCall] = []
    for statement in tree.body:
        value = statement.value if isinstance(statement, ast.Expr) else statement
        for call in value.elts if isinstance(value, ast.List) else [value]:
            if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name) or call.args:
                return []
            try:
                values = {one.arg or "": ast.literal_eval(one.value) for one in call.keywords}
                found.append(WrittenCall(call.func.id, compact(values)))
            except (ValueError, TypeError, RecursionError, MemoryError):
                return []
    return found


def _by_name(body: str) -> list[WrittenCall]:
    """`[{name: arguments}, ...]`."""
    values = list(json_values(body.strip()))
    flat = [one for value in values for one in (value if isinstance(value, list) else [value])]
    found = []
    for value in flat:
        if not isinstance(value, dict) or len(value) != 1:
            return []
        [(name, given)] = value.items()
        if not isinstance(given, dict):
            return []
        found.append(WrittenCall(name, compact(given)))
    return found


READERS: tuple[Callable[[str], list[WrittenCall]], ...] = (
    _qwen_xml,
    _invoke_xml,
    _argument_pairs,
    _deepseek,
    _kimi,
    _mistral,
    _flowers,
    _hunyuan,
    _gemma,
    pythonic_calls,
)


def _with_objects(pairs: list[tuple[str, str]]) -> list[WrittenCall]:
    found = []
    for name, text in pairs:
        given = _object(text)
        if given is None or not NAME.fullmatch(name):
            return []
        found.append(WrittenCall(name, compact(given)))
    return found


def _python_tag(body: str, tools: Collection[str], code_tool: str) -> list[WrittenCall]:
    text = body.strip()
    if text.startswith("{") and (found := _json_calls(text, may_repair=False)):
        return found
    if PYTHON_CALL.match(text):
        call = _keywords(text)
        if call is not None and call.name in tools:
            return [call]
    if code_tool not in tools or not text or not _is_python(text):
        return []
    return [WrittenCall(code_tool, compact({"code": text}))]


def _is_python(text: str) -> bool:
    try:
        ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True


def _keywords(text: str) -> WrittenCall | None:
    """`name.call(key="value")`, as Llama calls what Meta built in."""
    try:
        call = ast.parse(text, mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Attribute):
        return None
    name = ast.unparse(call.func.value)
    values: dict[str, JsonValue] = {}
    for keyword in call.keywords:
        if keyword.arg is None or not isinstance(keyword.value, ast.Constant):
            return None
        value = keyword.value.value
        values[keyword.arg] = value if isinstance(value, str | int | float) else str(value)
    return WrittenCall(name, compact(values))


# ---- JSON ---------------------------------------------------------------------------------------


def _json_calls(text: str, *, may_repair: bool) -> list[WrittenCall]:
    stripped = _unfenced(text)
    values = list(json_values(stripped))
    if not values and may_repair and stripped[:1] in ("{", "["):
        values = [repaired(stripped)]
    flat = [one for value in values for one in (value if isinstance(value, list) else [value])]
    found = [json_call(value) for value in flat]
    return [call for call in found if call is not None] if None not in found else []


def json_values(text: str) -> Iterator[JsonValue]:
    """The JSON values that `text` is made of, with nothing but white space, `;` and `,` between
    them; none if it holds anything else."""
    decoder, found, at = json.JSONDecoder(strict=False), [], 0
    while at < len(text):
        try:
            value, at = decoder.raw_decode(text, at)
        except (ValueError, RecursionError):
            return
        found.append(value)
        while at < len(text) and (text[at].isspace() or text[at] in ";,"):
            at += 1
    yield from found


def json_call(value: JsonValue) -> WrittenCall | None:
    """The call that a JSON object stands for."""
    if isinstance(value, dict) and isinstance(value.get("function"), dict):
        value = value["function"]
    if not isinstance(value, dict):
        return None
    name = next((value[key] for key in NAME_KEYS if isinstance(value.get(key), str)), None)
    if name is None and isinstance(value.get("function"), str):
        name = value["function"]
    if not isinstance(name, str) or not name:
        return None
    given = next((value[key] for key in ARGUMENT_KEYS if value.get(key) is not None), {})
    return WrittenCall(name, given if isinstance(given, str) else compact(given))


def _unfenced(text: str) -> str:
    """`text` without the fence that stands around it."""
    stripped = text.strip()
    if stripped.startswith("```"):
        stripped = stripped.partition("\n")[2]
    return stripped.removesuffix("```").strip()


def _object(text: str) -> dict[str, JsonValue] | None:
    stripped = _unfenced(text)
    try:
        found = json.loads(stripped or "{}", strict=False)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _value(text: str) -> JsonValue:
    """A value between two tags: without the line ends that set it off."""
    return text.removeprefix("\n").removesuffix("\n")


def _json_or_text(text: str) -> JsonValue:
    try:
        value: JsonValue = json.loads(text)
    except (ValueError, RecursionError):
        return text
    return value
