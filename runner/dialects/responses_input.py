"""Input of the Responses API: items as clients write them and send them back, into entries."""

from collections.abc import Callable, Iterator, Mapping

from pydantic import JsonValue

from runner.dialects.content_parts import (
    TEXT_TYPES,
    Part,
    inline_data,
    question_of,
    responses_image,
    text_part,
    texts_only,
)
from runner.dialects.fields import Fields, text_of
from runner.dialects.parsed_request import InlineFile
from runner.dialects.response_items.mcp_requests import (
    Approval,
    approval_of,
    function_name,
    waiting,
)
from runner.dialects.schema_fields import (
    REFUSED_IN_CALLS,
    REFUSED_IN_FILES,
    REFUSED_IN_PARTS,
    refuse,
)
from runner.dialects.summaries import summary_of
from runner.errors import RequestError
from runner.transcript import (
    CodeRun,
    Entry,
    Extraction,
    FunctionResult,
    Instruction,
    McpRun,
    Question,
    Search,
    Source,
    ToolCall,
    ToolResult,
    Turn,
    compact,
    with_result,
)

MCP_ITEMS = ("mcp_list_tools", "mcp_call", "mcp_approval_request", "mcp_approval_response")
Lookup = Callable[[str], Mapping[str, JsonValue] | None]


def _output_text(item: Fields) -> str:
    """What a function of the client gave. Raises RequestError for parts that are no text."""
    output = item.data.get("output")
    if isinstance(output, list):
        for part in item.objects("output"):
            if (kind := part.text("type") or "input_text") not in TEXT_TYPES:
                raise part.wrong("type", f"is {kind!r}; results of functions are text here")
    return text_of(output)


def is_reference(item: Mapping[str, JsonValue]) -> bool:
    """Whether `item` names a stored one; its type may be left out."""
    kind = item.get("type")
    return kind == "item_reference" or (kind is None and set(item) <= {"id", "type"})


class InputReader:
    """Input items into entries; thinking joins the turn that it led to.

    A reference to an item that is `present` in the conversation already adds nothing to it.
    """

    def __init__(
        self,
        lookup: Lookup,
        *,
        has_interpreter: bool = True,
        present: frozenset[str] = frozenset(),
    ) -> None:
        self._lookup = lookup
        self._present = set(present)
        self._has_interpreter = has_interpreter
        self._entries: list[Entry] = []
        self._reasoning = ""
        self.items: list[Mapping[str, JsonValue]] = []
        self.container_id = ""
        self.approvals: dict[str, Approval] = {}
        self.file_ids: list[str] = []
        self.inline_files: list[InlineFile] = []

    def read(self, fields: Fields) -> tuple[Entry, ...]:
        """Entries of the field `input`."""
        value = fields.data.get("input")
        if isinstance(value, str):
            text = fields.text("input") or ""
            part: JsonValue = {"type": "input_text", "text": text}
            self.items.append({"type": "message", "role": "user", "content": [part]})
            return (Question(text=text),)
        return self.read_items(fields, "input")

    def read_items(self, fields: Fields, key: str) -> tuple[Entry, ...]:
        """Entries of a list of items."""
        if not fields.items(key) and key == "input":
            raise fields.wrong(key, "must be a string or a non-empty array")
        for item in fields.objects(key):
            self._item(item)
        return tuple(self._entries)

    def _mcp(self, kind: str, item: Fields) -> None:
        """An item of an MCP server, as it was given out, or an answer to one."""
        label, tool = item.text("server_label") or "", item.text("name") or ""
        name, arguments = function_name(label, tool), item.text("arguments") or ""
        item_id = item.text("id") or f"call_{len(self._entries)}"
        if kind == "mcp_approval_request":
            self._add_call(ToolCall(id=item_id, name=name, arguments=arguments))
        elif kind == "mcp_approval_response":
            asked, approval = approval_of(item)
            if asked in self.approvals:
                raise item.wrong("approval_request_id", "is answered twice")
            self.approvals[asked] = approval
        elif kind == "mcp_call":
            error = item.data.get("error")
            output = text_of(item.data.get("output")) if error is None else compact(error)
            asked = item.text("approval_request_id") or ""
            self.approvals.pop(asked, None)
            is_waiting = asked in waiting(self._entries)
            result = ToolResult(
                call_id=asked if is_waiting else item_id,
                tool=name,
                shown=output or "[the tool gave nothing]",
                is_error=error is not None,
                details=McpRun(label=label, tool=tool, output=output),
            )
            if is_waiting:
                self._entries[:] = with_result(self._entries, result)
            else:
                self._replayed(name, item, arguments, result)
        # A list of tools is for the client: the model is told of them in each response.

    def _item(self, item: Fields) -> None:
        kind = item.text("type") or "message"
        if is_reference(item.data):
            item_id = item.text("id")
            if not item_id:
                raise item.wrong("id", "is missing")
            found = self._lookup(item_id)
            if found is None:
                message = f"Item with id '{item_id[:100]}' not found."
                raise RequestError("not_found", message, param=item.name("id"))
            if item_id in self._present:
                return
            self._item(Fields(dict(found), item.name("id")))
            return
        # What is meant is kept, and never a reference: what it names may be gone tomorrow.
        self.items.append(item.data)
        if isinstance(own_id := item.data.get("id"), str):
            self._present.add(own_id)
        if kind == "message":
            self._message(item)
        elif kind == "reasoning":
            parts = [*item.items("summary"), *item.items("content")]
            self._reasoning += "".join(map(text_of, parts))
        elif kind == "code_interpreter_call":
            self._code(item)
        elif kind in MCP_ITEMS:
            self._mcp(kind, item)
        elif kind == "compaction":
            summary, container_id = summary_of(item)
            self._entries.append(summary)
            self.container_id = container_id or self.container_id
        elif kind == "web_search_call":
            self._search(item)
        elif kind == "web_extractor_call":
            self._extraction(item)
        elif kind == "function_call":
            refuse(item, REFUSED_IN_CALLS)
            call = ToolCall(
                id=item.text("call_id") or "",
                name=item.text("name") or "",
                arguments=item.text("arguments") or "",
            )
            self._add_call(call)
        elif kind == "function_call_output":
            refuse(item, REFUSED_IN_CALLS)
            text = _output_text(item)
            self._entries.append(FunctionResult(call_id=item.text("call_id") or "", text=text))
        else:
            raise item.wrong("type", f"is {kind!r}, which this server does not know")

    def _add_call(self, call: ToolCall) -> None:
        """Calls in a row belong to one turn, as models expect them."""
        last = self._entries[-1] if self._entries else None
        if isinstance(last, Turn) and last.calls and not last.results and not last.text:
            self._entries[-1] = last.model_copy(update={"calls": (*last.calls, call)})
        else:
            self._turn(calls=(call,))

    def _message(self, item: Fields) -> None:
        role = item.text("role")
        content = item.data.get("content")
        if content is not None and not isinstance(content, str | list):
            raise item.wrong("content", "must be a string or an array of parts")
        if role in ("system", "developer"):
            self._entries.append(Instruction(text=texts_only(item, role)))
        elif role == "user":
            self._entries.append(question_of(list(self._parts(item))))
        elif role == "assistant":
            self._turn(text=texts_only(item, role))
        else:
            raise item.wrong("role", "must be user, assistant, system or developer")

    def _parts(self, item: Fields) -> Iterator[Part]:
        """What the model is shown; files go into the container, where there is one."""
        if isinstance(item.data.get("content"), str):
            yield text_part(item.text("content") or "")
            return
        for part in item.objects("content"):
            kind = part.text("type") or "input_text"
            refuse(part, REFUSED_IN_FILES if kind == "input_file" else REFUSED_IN_PARTS)
            if kind in TEXT_TYPES:
                yield text_part(text_of(part.data))
            elif kind == "input_image":
                yield from self._image(part)
            elif kind == "input_file":
                yield from self._file(part)
            elif kind == "input_audio":
                yield {"type": "input_audio", "input_audio": part.data.get("input_audio")}
            else:
                raise part.wrong("type", f"is {kind!r}, which this server does not know")

    def _image(self, part: Fields) -> Iterator[Part]:
        file_id = part.text("file_id")
        url = part.text("image_url")
        if file_id:
            self._file_by_id(part, file_id, is_shown=bool(url))
        if url:
            yield responses_image(part)
            if url.startswith("data:"):
                kind = url.partition(";")[0].rpartition("/")[2].partition("+")[0] or "png"
                name = f"image_{len(self.inline_files) + 1}.{kind}"
                self.inline_files.append(InlineFile(name, inline_data(part, "image_url")))
        elif not file_id:
            raise part.wrong("image_url", "is missing")

    def _file(self, part: Fields) -> Iterator[Part]:
        if part.has("file_url"):
            raise part.wrong("file_url", "is not fetched by this server; send file_data")
        if file_id := part.text("file_id"):
            self._file_by_id(part, file_id, is_shown=False)
        if part.has("file_data"):
            name = part.text("filename") or "file"
            self.inline_files.append(InlineFile(name, inline_data(part, "file_data")))
            if not self._has_interpreter:
                file: dict[str, JsonValue] = {"filename": name, "file_data": part.text("file_data")}
                yield {"type": "file", "file": file}
        elif not file_id:
            raise part.wrong("file_id", "is missing, and so is file_data")

    def _file_by_id(self, part: Fields, file_id: str, *, is_shown: bool) -> None:
        if not self._has_interpreter and not is_shown:
            raise part.wrong("file_id", "can only be read by the code interpreter")
        self.file_ids.append(file_id)

    def _turn(
        self,
        *,
        text: str = "",
        calls: tuple[ToolCall, ...] = (),
        results: tuple[ToolResult, ...] = (),
    ) -> None:
        reasoning, self._reasoning = self._reasoning, ""
        self._entries.append(Turn(reasoning=reasoning, text=text, calls=calls, results=results))

    def _replayed(self, name: str, item: Fields, arguments: str, result: ToolResult) -> None:
        call = ToolCall(id=result.call_id, name=name, arguments=arguments)
        self._turn(calls=(call,), results=(result,))

    def _code(self, item: Fields) -> None:
        code = item.text("code") or ""
        container_id = item.text("container_id") or ""
        self.container_id = container_id or self.container_id
        outputs = [one for one in item.items("outputs") if isinstance(one, dict)]
        logs = "\n".join(text_of(one.get("logs")) for one in outputs if "logs" in one)
        images = sum(one.get("type") == "image" for one in outputs)
        shown = logs + (f"\n[{images} image(s) shown to the user]" if images else "")
        result = ToolResult(
            call_id=item.text("id") or f"call_{len(self._entries)}",
            tool="code_interpreter",
            shown=shown.strip("\n") or "[the code ran and printed nothing]",
            details=CodeRun(code=code, container_id=container_id, stdout=logs),
        )
        self._replayed("code_interpreter", item, compact({"code": code}), result)

    def _search(self, item: Fields) -> None:
        action = item.object("action") or Fields({})
        query = action.text("query") or ""
        sources = tuple(
            Source(url=source.text("url") or "") for source in action.objects("sources")
        )
        result = ToolResult(
            call_id=item.text("id") or f"call_{len(self._entries)}",
            tool="web_search",
            shown="\n".join(source.url for source in sources) or "[no results were kept]",
            details=Search(query=query, sources=sources),
        )
        self._replayed("web_search", item, compact({"query": query}), result)

    def _extraction(self, item: Fields) -> None:
        urls, goal = item.strings("urls"), item.text("goal") or ""
        output = item.text("output") or ""
        result = ToolResult(
            call_id=item.text("id") or f"call_{len(self._entries)}",
            tool="web_extractor",
            shown=output or "[no text was kept]",
            details=Extraction(urls=urls, goal=goal, output=output),
        )
        arguments = compact({"urls": list(urls), "goal": goal})
        self._replayed("web_extractor", item, arguments, result)
