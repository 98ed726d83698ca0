"""What the Open Responses specification promises of a response and of its events, as a check.

Written from the specification's own words: which fields there are, which may be null, which are
left out at times. Source: openresponses.org, specification and reference.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Final

Check = Callable[[object, str], Iterator[str]]
NULL: Final = type(None)


def of(*kinds: type) -> Check:
    """Return a check that a value has one of `kinds`; a bool is no number."""

    def check(value: object, place: str) -> Iterator[str]:
        fits = isinstance(value, kinds) and (not isinstance(value, bool) or bool in kinds)
        if not fits:
            yield f"{place}: {value!r} is none of {', '.join(kind.__name__ for kind in kinds)}"

    return check


def one_of(*values: object) -> Check:
    def check(value: object, place: str) -> Iterator[str]:
        if value not in values:
            yield f"{place}: {value!r} is none of {values}"

    return check


def list_of(inner: Check) -> Check:
    def check(value: object, place: str) -> Iterator[str]:
        if not isinstance(value, list):
            yield f"{place}: {value!r} is no list"
            return
        for number, item in enumerate(value):
            yield from inner(item, f"{place}[{number}]")

    return check


def record(needed: Mapping[str, Check], optional: Mapping[str, Check] | None = None) -> Check:
    """Return a check of an object: fields that must be there, and those that may."""

    def check(value: object, place: str) -> Iterator[str]:
        if not isinstance(value, dict):
            yield f"{place}: {value!r} is no object"
            return
        for name, inner in needed.items():
            if name not in value:
                yield f"{place}.{name} is missing"
            else:
                yield from inner(value[name], f"{place}.{name}")
        for name, inner in (optional or {}).items():
            if name in value:
                yield from inner(value[name], f"{place}.{name}")

    return check


def or_null(inner: Check) -> Check:
    def check(value: object, place: str) -> Iterator[str]:
        if value is not None:
            yield from inner(value, place)

    return check


def by_type(kinds: Mapping[str, Check], *, unknown_prefixes: tuple[str, ...] = ()) -> Check:
    """Return a check by the field `type`; types of a provider's own are let through."""

    def check(value: object, place: str) -> Iterator[str]:
        kind = value.get("type") if isinstance(value, dict) else None
        if kind in kinds:
            yield from kinds[str(kind)](value, place)
        elif not (isinstance(kind, str) and kind.startswith(unknown_prefixes)):
            yield f"{place}: type {kind!r} is not known"

    return check


TEXT, WHOLE, NUMBER, FLAG = of(str), of(int), of(int, float), of(bool)
ANY: Check = lambda _value, _place: iter(())  # noqa: E731
STATUS = one_of("in_progress", "completed", "incomplete")
PART = by_type(
    {
        "input_text": record({"text": TEXT}),
        "output_text": record(
            {"text": TEXT, "annotations": list_of(ANY)}, {"logprobs": list_of(ANY)}
        ),
        "text": record({"text": TEXT}),
        "summary_text": record({"text": TEXT}),
        "reasoning_text": record({"text": TEXT}),
        "refusal": record({"refusal": TEXT}),
        "input_image": record({"image_url": of(str, NULL), "detail": TEXT}),
        "input_file": record({}),
    }
)
ITEM = by_type(
    {
        "message": record({
            "id": TEXT, "status": STATUS, "content": list_of(PART),
            "role": one_of("user", "assistant", "system", "developer"),
        }),
        "function_call": record({
            "id": TEXT, "call_id": TEXT, "name": TEXT, "arguments": TEXT, "status": STATUS,
        }),
        "function_call_output": record({"id": TEXT, "call_id": TEXT, "status": STATUS}),
        "reasoning": record(
            {"id": TEXT, "summary": list_of(PART)},
            {"content": list_of(PART), "encrypted_content": TEXT},
        ),
        "compaction": record({"id": TEXT, "encrypted_content": TEXT}),
        "code_interpreter_call": record({"id": TEXT, "status": TEXT}),
    }
)  # fmt: skip
TOOL = by_type(
    {
        "function": record({
            "name": TEXT, "description": of(str, NULL), "parameters": of(dict, NULL),
            "strict": of(bool, NULL),
        }),
        "code_interpreter": ANY,
    }
)  # fmt: skip
FORMAT = by_type(
    {
        "text": ANY,
        "json_object": ANY,
        "json_schema": record({
            "name": TEXT, "description": of(str, NULL), "schema": of(dict, NULL), "strict": FLAG,
        }),
    }
)  # fmt: skip
USAGE = record({
    "input_tokens": WHOLE, "output_tokens": WHOLE, "total_tokens": WHOLE,
    "input_tokens_details": record({"cached_tokens": WHOLE}),
    "output_tokens_details": record({"reasoning_tokens": WHOLE}),
})  # fmt: skip
RESPONSE = record({
    "id": TEXT, "object": one_of("response"), "created_at": WHOLE, "completed_at": of(int, NULL),
    "status": TEXT, "incomplete_details": or_null(record({"reason": TEXT})), "model": TEXT,
    "previous_response_id": of(str, NULL), "instructions": of(str, list, NULL),
    "output": list_of(ITEM), "error": or_null(record({"code": TEXT, "message": TEXT})),
    "tools": list_of(TOOL), "tool_choice": of(str, dict),
    "truncation": one_of("auto", "disabled"), "parallel_tool_calls": FLAG,
    "text": record({"format": FORMAT}), "top_p": NUMBER, "presence_penalty": NUMBER,
    "frequency_penalty": NUMBER, "top_logprobs": WHOLE, "temperature": NUMBER,
    "reasoning": or_null(record({"effort": of(str, NULL), "summary": of(str, NULL)})),
    "user": of(str, NULL), "usage": or_null(USAGE), "max_output_tokens": of(int, NULL),
    "max_tool_calls": of(int, NULL), "store": FLAG, "background": FLAG, "service_tier": TEXT,
    "metadata": of(dict), "safety_identifier": of(str, NULL), "prompt_cache_key": of(str, NULL),
})  # fmt: skip
COMPACTED = record({
    "id": TEXT, "object": one_of("response.compaction"), "created_at": WHOLE,
    "output": list_of(ITEM), "usage": USAGE,
})  # fmt: skip
ERROR = record({
    "error": record({
        "message": TEXT, "type": TEXT, "param": of(str, NULL), "code": of(str, NULL),
    }),
})  # fmt: skip

_whole = record({"sequence_number": WHOLE, "response": RESPONSE})
_item = record({"sequence_number": WHOLE, "output_index": WHOLE, "item": or_null(ITEM)})
_of_item = {"sequence_number": WHOLE, "item_id": TEXT, "output_index": WHOLE}
_of_text = {**_of_item, "content_index": WHOLE}
_of_summary = {**_of_item, "summary_index": WHOLE}
EVENT = by_type(
    {
        **{f"response.{name}": _whole for name in (
            "created", "queued", "in_progress", "completed", "failed", "incomplete",
        )},
        "response.output_item.added": _item,
        "response.output_item.done": _item,
        "response.content_part.added": record({**_of_text, "part": PART}),
        "response.content_part.done": record({**_of_text, "part": PART}),
        "response.output_text.delta": record({**_of_text, "delta": TEXT},
                                             {"logprobs": list_of(ANY)}),
        "response.output_text.done": record({**_of_text, "text": TEXT},
                                            {"logprobs": list_of(ANY)}),
        "response.output_text.annotation.added": record(
            {**_of_text, "annotation_index": WHOLE, "annotation": of(dict, NULL)}
        ),
        "response.reasoning_summary_part.added": record({**_of_summary, "part": PART}),
        "response.reasoning_summary_part.done": record({**_of_summary, "part": PART}),
        "response.reasoning_summary_text.delta": record({**_of_summary, "delta": TEXT}),
        "response.reasoning_summary_text.done": record({**_of_summary, "text": TEXT}),
        "response.function_call_arguments.delta": record({**_of_item, "delta": TEXT}),
        "response.function_call_arguments.done": record({**_of_item, "arguments": TEXT}),
        "error": record({"sequence_number": WHOLE, "error": of(dict)}),
    },
    unknown_prefixes=("response.code_interpreter_call",),
)  # fmt: skip


def problems(check: Check, value: object) -> list[str]:
    """Return what of `value` is not as the specification has it."""
    return list(check(value, "$"))
