"""Compaction: a long conversation into its questions and a summary that stands for the rest."""

from collections.abc import Callable, Iterator, Mapping, Sequence

from pydantic import JsonValue

from runner.dialects.content_parts import image_part, text_part
from runner.dialects.fields import Fields, model_name
from runner.dialects.parsed_request import ParsedRequest
from runner.dialects.response_items.item_parts import usage_json
from runner.dialects.responses import ResponsesOptions
from runner.dialects.responses_input import InputReader, Lookup
from runner.dialects.schema_fields import PASSED_BY_BOTH, Refusal, passed_on, refuse
from runner.dialects.summaries import seal
from runner.models.port import Sampling
from runner.transcript import Entry, Instruction, Question, Usage

SUMMARY_WORDS = (
    "Summarize the conversation so far, for yourself: you will go on from the summary alone, with"
    " the user's messages beside it. Keep every fact, number, name, decision, file and variable"
    " that may be needed, what was tried and what came out, and what is still to be done. Write"
    " the summary and nothing else."
)
REFUSED: Mapping[str, Refusal] = {"image": Refusal("is not supported by this server")}


def parse(body: JsonValue, *, lookup: Lookup) -> tuple[ParsedRequest, ResponsesOptions]:
    """The request in `body`, its conversation in `entries`. Raises RequestError."""
    fields = Fields(body)
    refuse(fields, REFUSED)
    previous = fields.text("previous_response_id")
    reader = InputReader(lookup, has_interpreter=True)
    entries = reader.read(fields) if fields.has("input") or not previous else ()
    instructions = fields.text("instructions")
    if instructions:
        entries = (Instruction(text=instructions), *entries)
    parsed = ParsedRequest(
        model=model_name(fields),
        entries=entries,
        stream=False,
        sampling=Sampling(passed_on=passed_on(fields, PASSED_BY_BOTH)),
    )
    options = ResponsesOptions(
        instructions=instructions,
        previous_response_id=previous,
        replayed_container=reader.container_id,
        store=False,
    )
    return parsed, options


def asked(entries: Sequence[Entry]) -> tuple[Entry, ...]:
    """What the model is asked for a summary of `entries`."""
    return (*entries, Question(text=SUMMARY_WORDS))


def compacted(
    entries: Sequence[Entry],
    summary: str,
    *,
    response_id: str,
    created_at: int,
    new_id: Callable[[str], str],
    container_id: str,
    usage: Usage,
) -> dict[str, object]:
    """The whole answer: the user's messages, then the item that stands for the rest."""
    output: list[object] = [
        {
            "id": new_id("msg"),
            "type": "message",
            "role": "user",
            "status": "completed",
            "content": list(_content(entry)),
        }
        for entry in entries
        if isinstance(entry, Question)
    ]
    sealed = seal(summary, container_id)
    output.append({"id": new_id("cmp"), "type": "compaction", "encrypted_content": sealed})
    return {
        "id": response_id,
        "object": "response.compaction",
        "created_at": created_at,
        "output": output,
        "usage": usage_json(usage, {}),
    }


def _content(entry: Question) -> Iterator[dict[str, object]]:
    plain = [text_part(entry.text)] if entry.text else []
    parts = entry.parts or (*plain, *map(image_part, entry.images))
    for part in parts:
        inner = part.get(str(part.get("type")))
        given = inner if isinstance(inner, dict) else {}
        if part.get("type") == "text":
            yield {"type": "input_text", "text": part.get("text")}
        elif part.get("type") == "image_url":
            detail = given.get("detail") or "auto"
            yield {"type": "input_image", "image_url": given.get("url"), "detail": detail}
        elif part.get("type") == "file":
            yield {"type": "input_file", **given}
        else:
            yield dict(part)
