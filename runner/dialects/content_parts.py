"""Content of a question: its parts in the order in which the client wrote them, none lost.

Parts become those of Chat Completions, which every model's endpoint is asked in. A part that
cannot reach the model is refused by its name.
"""

import base64
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from pydantic import JsonValue

from runner.dialects.fields import Fields, text_of
from runner.dialects.parsed_request import InlineFile
from runner.dialects.schema_fields import REFUSED_IN_PARTS, refuse
from runner.transcript import Question, encodable

Part = Mapping[str, JsonValue]
TEXT_TYPES = ("text", "input_text", "output_text", "refusal", "summary_text", "reasoning_text")
DETAILS = ("auto", "low", "high", "original")


def inline_data(part: Fields, key: str) -> bytes:
    """The bytes of a data URL, or of bare base64. Raises RequestError."""
    text = part.text(key) or ""
    head, comma, tail = text.partition(",")
    if comma and not head.endswith(";base64"):
        raise part.wrong(key, "must be a data URL in base64")
    try:
        return base64.b64decode(tail if comma else text, validate=True)
    except ValueError:
        raise part.wrong(key, "is no base64") from None


@dataclass(slots=True)
class Attached:
    """Files of a conversation, for the container; the model is shown their names."""

    file_ids: list[str] = field(default_factory=list)
    inline_files: list[InlineFile] = field(default_factory=list)

    def add(self, part: Fields) -> None:
        """Take the file of a part of Chat Completions. Raises RequestError."""
        file = part.object("file")
        if file is None:
            raise part.wrong("file", "is missing")
        if file_id := file.text("file_id"):
            self.file_ids.append(file_id)
        elif file.has("file_data"):
            name = file.text("filename") or "file"
            self.inline_files.append(InlineFile(name, inline_data(file, "file_data")))
        else:
            raise file.wrong("file_id", "is missing, and so is file_data")


def question_of(parts: list[Part], *, name: str = "") -> Question:
    """The question that `parts` are; a text with pictures behind it needs no order."""
    text = "".join(str(part.get("text", "")) for part in parts if part.get("type") == "text")
    if all(part.get("type") == "text" for part in parts):
        return Question(text=text, name=name)
    images = tuple(url for part in parts if (url := _url(part)))
    plain = [text_part(text)] if text else []
    if parts == [*plain, *map(image_part, images)]:
        return Question(text=text, images=images, name=name)
    return Question(text=text, images=images, parts=tuple(parts), name=name)


def _url(part: Part) -> str:
    image = part.get("image_url")
    url = image.get("url") if isinstance(image, dict) else None
    return url if isinstance(url, str) else ""


def chat_parts(message: Fields, attached: Attached | None = None) -> Iterator[Part]:
    """The parts of a message of Chat Completions, or of DashScope's without a type.

    Files go to `attached`, where there is one, and else to the endpoint.
    """
    key = "content"
    content = message.data.get(key)
    if isinstance(content, str):
        yield text_part(content)
        return
    for index, given in enumerate(message.items(key)):
        if isinstance(given, str):
            yield text_part(given)
            continue
        part = Fields(given, f"{message.name(key)}[{index}]")
        refuse(part, REFUSED_IN_PARTS)
        kind = part.text("type") or next((key for key in ("text", "image") if part.has(key)), "")
        if kind in TEXT_TYPES:
            yield text_part(text_of(part.data))
        elif kind in ("image_url", "image"):
            yield chat_image(part)
        elif kind == "file" and attached is not None:
            attached.add(part)
        elif not kind:
            raise part.wrong("type", "is missing")
        else:
            # Sound, files, video: whether it knows them is the endpoint's to say.
            yield part.data


def chat_image(part: Fields) -> Part:
    """A picture, as a URL with its detail."""
    image = part.data.get("image_url", part.data.get("image"))
    given = image if isinstance(image, dict) else {"url": image, "detail": part.data.get("detail")}
    url, detail = given.get("url"), given.get("detail")
    if not isinstance(url, str) or not url:
        raise part.wrong("image_url", "must have a url")
    return image_part(url, _detail(part, detail))


def _detail(part: Fields, detail: JsonValue) -> str:
    if detail is None:
        return ""
    if detail not in DETAILS:
        raise part.wrong("detail", f"must be one of {', '.join(DETAILS)}")
    return str(detail)


def text_part(text: str) -> Part:
    return {"type": "text", "text": encodable(text)}


def image_part(url: str, detail: str = "") -> Part:
    """A picture for the model; without a detail that is left to the endpoint."""
    more = {"detail": detail} if detail else {}
    return {"type": "image_url", "image_url": {"url": url, **more}}


def responses_image(part: Fields) -> Part:
    """A picture of the Responses API that has a URL."""
    return image_part(part.text("image_url") or "", _detail(part, part.data.get("detail")))


def texts_only(message: Fields, role: str, key: str = "content") -> str:
    """The text of a message in which other parts have no place. Raises RequestError."""
    content = message.data.get(key)
    for index, part in enumerate(content if isinstance(content, list) else ()):
        if isinstance(part, dict):
            refuse(Fields(part, f"{message.name(key)}[{index}]"), REFUSED_IN_PARTS)
        kind = part.get("type", "text") if isinstance(part, dict) else "text"
        if kind not in TEXT_TYPES:
            name = f"{key}[{index}].type"
            raise message.wrong(name, f"is {kind!r}; a message of the role {role} has text alone")
    return text_of(_with_refusals(content))


def _with_refusals(content: JsonValue) -> JsonValue:
    if not isinstance(content, list):
        return content
    return [
        part.get("refusal", part.get("text")) if isinstance(part, dict) else part
        for part in content
    ]
