"""TurnReader: the events of an answer into one turn of the model.

An answer that ends well was understood: what could not be read, or ended before its end, is an
error that says what came, and never a turn with less in it.
"""

import json
import re
from collections.abc import Iterator, Mapping

from pydantic import JsonValue

from runner.errors import UpstreamError
from runner.events import ReasoningDelta, TextDelta
from runner.models.port import (
    CallDelta,
    FinishReason,
    ModelEvent,
    ModelRequest,
    TurnEnded,
    UsageSeen,
)
from runner.models.textforms import ID_PREFIX, Splitter, calls_at_end
from runner.models.upstream.answer_parts import (
    AnswerPiece,
    HalfHolder,
    calls_in,
    pieces_in,
    usage_of,
)
from runner.models.upstream.call_assembly import CallAssembler, UnreadableCall
from runner.models.upstream.error_envelopes import error_in, short, words_of
from runner.models.upstream.sse import HEAD_BYTES, UNREADABLE, ServerEvent
from runner.models.written.thoughts import ThoughtSplitter
from runner.transcript import Turn

DONE = ("[DONE]", "[done]", '"[DONE]"', "DONE")
PINGS = ("ping", "heartbeat", "keepalive", "keep-alive", "keep_alive")
"""Names of events that only keep a connection open, whatever their data is."""
PING = re.compile(r"(?::.*|ping|keep-?alive|heartbeat|null|\{\s*\})?", re.IGNORECASE)
TURN_CHARS = 64 * 1024 * 1024
FINISH: Mapping[str, FinishReason] = {
    "length": "length",
    "max_tokens": "length",
    "model_length": "length",
    "tool_calls": "calls",
    "tool_call": "calls",
    "tool_use": "calls",
    "function_call": "calls",
    "function_calls": "calls",
    "content_filter": "filter",
    "content-filter": "filter",
    "sensitive": "filter",
    "safety": "filter",
    "recitation": "filter",
    "prohibited_content": "filter",
    "blocklist": "filter",
    "spii": "filter",
}
"""By the word that a reason begins with: some endpoints put their own behind it."""
FAILED = (
    *("error", "abort", "aborted", "cancelled", "insufficient_system_resource", "network_error"),
    # The model wrote a call that the endpoint could not read, and keeps to itself.
    *("function_call_filter", "malformed_function_call", "unexpected_tool_call"),
    *("malformed_response", "too_many_tool_calls"),
)


class TurnReader:
    """What an endpoint sends for one turn, in; events of the model, out."""

    def __init__(
        self, request: ModelRequest, *, opens_thinking: bool, holds: bool, hidden: str = ""
    ) -> None:
        schemas = {tool.name: tool.parameters for tool in request.tools}
        self._thoughts = ThoughtSplitter(opened=opens_thinking, holds=holds)
        self._splitter = Splitter(schemas, thoughts=self._thoughts)
        self._schemas = schemas
        if calls_natively(request):
            # On its last word it is asked for no call: one that is there all the same, as the
            # whole message, is no answer.
            self._splitter.read_no_calls(but_whole=request.tool_choice == "none")
        self._calls = CallAssembler(schemas)
        self._opens_thinking = opens_thinking
        self._written: list[ModelEvent] = []
        self._halves = {"thought": HalfHolder(), "text": HalfHolder()}
        self._hidden = hidden
        self._finish: str | None = None
        self._has_spoken = False
        self._has_text = False
        self._texts: list[str] = []
        self._thoughts_said: list[str] = []
        self._chars = 0
        self._words = ""
        self.is_over = False
        self.thinks_natively = False
        """Whether thinking came apart from the text."""

    @property
    def has_only_thought(self) -> bool:
        """Whether thinking is all that came: the client is given it, and an empty answer."""
        thought = self.thinks_natively or bool(self._thoughts_said)
        return thought and not (self._has_text or self._calls.count or self._written)

    @property
    def is_holding(self) -> bool:
        """Whether text waits for it to be known whether it is thinking."""
        return self._thoughts.is_holding

    def habit(self, known: bool | None) -> bool | None:
        """Whether the model's answers begin inside thinking, after one more of them."""
        if self._thoughts.has_lone_close:
            return True
        if self.thinks_natively or self._thoughts.has_opened:
            return False
        if not self._texts:
            return known
        # Nothing closed it. A model that does so at other times is looked at anew.
        return None if known else False

    def feed(self, event: ServerEvent) -> Iterator[ModelEvent]:
        """What `event` says. Raises UpstreamError."""
        if event.name == UNREADABLE:
            self._words = self._words or event.data
            return
        text = event.data.strip()
        if text in DONE:
            self.is_over = True
            return
        if event.name in PINGS or PING.fullmatch(text):
            return
        is_error = event.name in ("error", "exception")
        try:
            data: JsonValue = json.loads(text)
        except (ValueError, RecursionError):
            if is_error:
                data = text
            else:
                self._words = self._words or text
                raise self._garbled("a piece is no JSON", text) from None
        for one in data if isinstance(data, list) else [data]:
            try:
                if error := error_in(one, is_error=is_error, hidden=self._hidden):
                    raise error
                if not isinstance(one, dict):
                    raise self._garbled("a piece is no object", text)
                yield from self._chunk(one)
            except UnreadableCall as unreadable:
                raise self._garbled(str(unreadable), text) from None
            except (AttributeError, TypeError, ValueError, RecursionError) as wrong:
                raise self._garbled(f"{type(wrong).__name__} in a piece", text) from wrong

    def release(self) -> Iterator[ModelEvent]:
        """Let text go that waits for it to be known whether it is thinking."""
        yield from self._passed(self._splitter.release())

    def finish(self, head: str) -> Iterator[ModelEvent]:
        """The end of the turn. Raises UpstreamError; `head` is what the answer began with."""
        try:
            yield from self._calls.finish()
        except UnreadableCall as unreadable:
            raise self._garbled(str(unreadable), head) from None
        if half := self._halves["text"].rest():
            yield from self._texted(half)
        yield from self._passed(self._splitter.finish())
        yield from self._written_calls()
        yield from self._thought_calls()
        finish = self._reason(head)
        if finish == "stop" and not self._has_text and self._opens_thinking:
            # It did not think this time: what came was the answer.
            self._has_text = bool(self._texts)
            yield TextDelta("".join(self._texts))
        yield TurnEnded(finish)

    def _written_calls(self) -> Iterator[ModelEvent]:
        """Calls that stood in the text; they are text where the endpoint calls by itself."""
        if self._calls.count and self._written:
            yield TextDelta("\n".join(self._splitter.written))
            self._written.clear()
        yield from self._written

    def _thought_calls(self) -> Iterator[ModelEvent]:
        """Calls at the end of thinking that nothing closed: some models forget to, and some
        endpoints take what comes then for thinking."""
        if self._has_text or self._calls.count or self._written or not self._thoughts_said:
            return
        self._written += calls_at_end("".join(self._thoughts_said), self._schemas)
        yield from self._written

    def _reason(self, head: str) -> FinishReason:
        has_calls = bool(self._calls.count or self._written)
        if self._finish is None:
            if not self._has_spoken:
                raise self._garbled("nothing in it could be read", self._words or head)
            if not self.is_over:
                words = short(self._words, self._hidden, HEAD_BYTES)
                more = f"; its last words: {words}" if words else ""
                raise UpstreamError("cut", f"no end of the turn{more}", is_said=bool(words))
            if not self._calls.is_whole:
                raise UpstreamError("cut", "a call ended inside its arguments")
        finish = FINISH.get(_first_word(self._finish or "stop"), "stop")
        if finish == "calls" and not has_calls:
            raise self._garbled("it announced calls and sent none", head)
        if finish == "stop" and not has_calls and not self._has_spoken:
            raise self._garbled("the turn is empty", head)
        return "calls" if has_calls and finish == "stop" else finish

    def _passed(self, events: Iterator[ModelEvent]) -> Iterator[ModelEvent]:
        """`events` of the text, without its calls, which wait for the end of the turn."""
        for event in events:
            if isinstance(event, CallDelta):
                self._written.append(event)
            else:
                self._note(event)
                yield event

    def _note(self, event: ModelEvent) -> None:
        if isinstance(event, TextDelta):
            self._has_text = self._has_text or bool(event.text.strip())
        elif isinstance(event, ReasoningDelta):
            self._thoughts_said.append(event.text)

    def _garbled(self, what: str, seen: str) -> UpstreamError:
        words = short(seen, self._hidden, HEAD_BYTES)
        detail = f"{what}. It sent: {words}" if words else what
        return UpstreamError("garbled", detail, is_said=True)

    # ---- pieces ---------------------------------------------------------------------------------

    def _chunk(self, chunk: dict[str, JsonValue]) -> Iterator[ModelEvent]:
        usage = chunk.get("usage")
        if usage is None and isinstance(chunk.get("x_groq"), dict):
            usage = chunk["x_groq"].get("usage")  # type: ignore[union-attr]
        if "eval_count" in chunk:
            usage = chunk
        if isinstance(usage, dict):
            yield UsageSeen(usage_of(usage))
        choices = chunk.get("choices")
        if choices is None and isinstance(chunk.get("message"), dict):
            # Ollama's own form: one message a line, the last of them `done`.
            reason = chunk.get("done_reason") or "stop"
            choices = [{**chunk, "finish_reason": reason if chunk.get("done") else None}]
        if choices is not None and not isinstance(choices, list):
            raise TypeError("choices")
        for choice in choices or ():
            if isinstance(choice, dict) and str(choice.get("index") or 0) == "0":
                yield from self._choice(choice)

    def _choice(self, choice: dict[str, JsonValue]) -> Iterator[ModelEvent]:
        if choice.get("error"):
            error = error_in({"error": choice["error"], "choices": []}, hidden=self._hidden)
            if error is not None:
                raise error
        delta, message = choice.get("delta"), choice.get("message")
        finish = choice.get("finish_reason")
        words = ""
        if isinstance(finish, dict):
            words = words_of(finish.get("message"))
            finish = finish.get("type")
        if isinstance(delta, dict) and delta:
            yield from self._said(pieces_in(delta))
            yield from self._called(delta, is_whole=False)
        elif isinstance(message, dict):
            said = pieces_in(message)
            yield from self._said(self._news(said) if finish else said)
            yield from self._called(message, is_whole=True)
        elif isinstance(choice.get("text"), str):
            yield from self._said(iter([AnswerPiece("text", str(choice["text"]))]))
        if isinstance(finish, str) and finish not in ("", "null"):
            word = _first_word(finish)
            if word in FAILED:
                detail = short(": ".join(filter(None, (f"it ended with {finish!r}", words))))
                raise UpstreamError("failed", detail, is_said=True)
            self._finish = finish
            self._has_spoken = self._has_spoken or FINISH.get(word) in ("length", "filter")

    def _news(self, said: Iterator[AnswerPiece]) -> Iterator[AnswerPiece]:
        """What a last message adds: some endpoints repeat in it all that came before."""
        told = "".join(self._texts)
        for one in said:
            if one.kind == "thought" and self.thinks_natively:
                continue
            if one.kind == "text" and told and one.text.startswith(told):
                one = AnswerPiece("text", one.text[len(told) :])
            if one.text:
                yield one

    def _said(self, said: Iterator[AnswerPiece]) -> Iterator[ModelEvent]:
        for one in said:
            text = self._halves[one.kind].join(one.text)
            self._has_spoken = self._has_spoken or bool(text.strip())
            self._bound(len(text))
            if one.kind == "thought":
                if not self.thinks_natively:
                    self.thinks_natively = True
                    yield from self._passed(self._splitter.release())
                if text:
                    self._thoughts_said.append(text)
                    yield ReasoningDelta(text)
            else:
                yield from self._texted(text)

    def _texted(self, text: str) -> Iterator[ModelEvent]:
        self._texts.append(text)
        yield from self._passed(self._splitter.feed(text))

    def _called(self, message: Mapping[str, JsonValue], *, is_whole: bool) -> Iterator[ModelEvent]:
        entries = calls_in(message)
        if not entries:
            return
        add = self._calls.add_whole if is_whole else self._calls.add
        before = self._calls.count
        told = list(add(entries))
        if self._calls.count and not before:
            yield from self._passed(self._splitter.finish())
            self._splitter.read_no_calls()
        self._has_spoken = self._has_spoken or bool(self._calls.count)
        for delta in told:
            self._bound(len(delta.arguments))
            yield delta

    def _bound(self, chars: int) -> None:
        self._chars += chars
        if self._chars > TURN_CHARS:
            raise self._garbled(f"the turn has more than {TURN_CHARS} characters", "")


def _first_word(finish: str) -> str:
    return finish.lower().partition(":")[0].strip()


def calls_natively(request: ModelRequest) -> bool:
    """Whether the endpoint has made a call of its own since the last question.

    Then its text is text: what stands there in the form of a call is spoken of.
    """
    for entry in reversed(request.entries):
        if not isinstance(entry, Turn):
            return False
        if any(not call.id.startswith(ID_PREFIX) for call in entry.calls):
            return True
    return False
