"""CallAssembler: pieces of tool calls, as endpoints number and name them, into calls.

Endpoints disagree on what tells two calls of one turn apart. Some number them, some number all of
them 0, some give no number; ids come with the first piece, with each, anew with each, or never;
names come late, in pieces, or again and again. So a piece is placed by its index, id and name
together, and by whether the JSON of the call before it is whole.
"""

import json
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field

from pydantic import JsonValue

from runner.models.port import CallDelta
from runner.models.upstream.json_end import ObjectScanner
from runner.transcript import encodable

HEAD_CHARS = 12
DECORATION = re.compile(r"\s*<\|.*|:\d+\Z|\(\)\Z", re.DOTALL)
NAME_SPACE = re.compile(r".*(?:[.:/]|__)", re.DOTALL)


class UnreadableCall(Exception):
    """A piece of a call belongs to no call that could be run."""


@dataclass(frozen=True, slots=True)
class Piece:
    """One entry of `tool_calls`; what is missing of it is None or empty."""

    index: int | None = None
    id: str = ""
    name: str = ""
    arguments: str = ""


@dataclass(slots=True)
class _Call:
    number: int
    index: int | None
    ids: list[str] = field(default_factory=list)
    name: str = ""
    held: list[str] = field(default_factory=list)
    """Arguments that came before the name was whole."""
    text: list[str] = field(default_factory=list)
    scanner: ObjectScanner = field(default_factory=ObjectScanner)
    is_told: bool = False
    is_begun_again: bool = False
    """Whether its name came once more behind its end, as at the start of another call."""
    likely_name: str = ""
    """The name of the call before it, should none of its own come."""

    @property
    def arguments(self) -> str:
        return "".join(self.text)

    @property
    def is_placeholder(self) -> bool:
        """Whether its arguments are an empty object, which others may take the place of."""
        return self.scanner.is_whole and self.arguments.strip() == "{}"

    @property
    def head(self) -> str:
        """Its first characters."""
        return "".join(self.text[:HEAD_CHARS])[:HEAD_CHARS]

    def restart(self) -> None:
        """Forget the arguments that came so far, and were not told yet."""
        self.text.clear()
        self.held.clear()
        self.scanner = ObjectScanner()


class CallAssembler:
    """The calls of one turn. `tools` are the names that were offered."""

    def __init__(self, tools: Collection[str]) -> None:
        self._tools = frozenset(tools)
        self._only_tool = next(iter(self._tools)) if len(self._tools) == 1 else ""
        self._calls: list[_Call] = []
        self._touched: list[_Call] = []

    @property
    def count(self) -> int:
        """How many calls have begun."""
        return len(self._calls)

    def add(self, entries: JsonValue) -> Iterator[CallDelta]:
        """What the entries of one chunk complete. Raises UnreadableCall."""
        self._touched = []
        for entry in entries_of(entries):
            piece = piece_of(entry)
            if piece is not None:
                yield from self._place(piece)

    def add_whole(self, entries: JsonValue) -> Iterator[CallDelta]:
        """As `add`, for a message that may repeat calls which came in pieces before."""
        self._touched = []
        for entry in entries_of(entries):
            piece = piece_of(entry)
            if piece is not None and not self._is_repeated(piece):
                yield from self._place(piece)

    def finish(self) -> Iterator[CallDelta]:
        """The turn is over: calls whose name was still in doubt. Raises UnreadableCall."""
        for call in self._calls:
            call.name = call.name or call.likely_name or self._only_tool
            if not call.name:
                raise UnreadableCall(f"call {call.number + 1} of the turn has no name")
            yield from self._tell(call, is_end=True)

    @property
    def is_whole(self) -> bool:
        """Whether no call ends inside its arguments."""
        return not any(call.scanner.is_open for call in self._calls)

    # ---- to which call a piece belongs ----------------------------------------------------------

    def _place(self, piece: Piece) -> Iterator[CallDelta]:
        call, before = self._call_of(piece)
        if call is None:
            call = _Call(len(self._calls), piece.index)
            if before is not None:
                call.likely_name = before.name
                call.name = before.name if before.is_begun_again else ""
            self._calls.append(call)
        elif call.scanner.is_whole and piece.name and not piece.arguments:
            call.is_begun_again = True
        self._touched.append(call)
        if piece.id and piece.id not in call.ids:
            call.ids.append(piece.id)
        self._name(call, piece.name)
        yield from self._write(call, piece)
        if self._is_name_sure(call):
            yield from self._tell(call)

    def _is_name_sure(self, call: _Call) -> bool:
        if call.is_told:
            return True
        is_begun = any(tool.startswith(call.name) and tool != call.name for tool in self._tools)
        if call.name in self._tools:
            return not is_begun or bool(call.held)
        return bool(call.name and call.held and not is_begun)

    def _call_of(self, piece: Piece) -> tuple[_Call | None, _Call | None]:
        """The call that `piece` goes on with, or None and the call that stands in its place."""
        named = [call for call in self._calls if piece.id and piece.id in call.ids]
        if piece.index is None:
            last = named[-1] if named else (self._calls[-1] if self._calls else None)
            if last is None or (last in self._touched and not named):
                return None, None
        else:
            numbered = [call for call in self._calls if call.index == piece.index]
            if numbered:
                both = [call for call in numbered if call in named]
                last = both[-1] if both else numbered[-1]
            else:
                last = named[-1] if named else (self._calls[-1] if self._calls else None)
                if last is None or not self._drifts(last, piece, has_id=bool(named)):
                    return None, None
        return (None, last) if self._is_another(last, piece) else (last, None)

    def _drifts(self, last: _Call, piece: Piece, *, has_id: bool) -> bool:
        """Whether a number not seen before only counts the pieces of the call before it."""
        if piece.name and not has_id:
            return False
        is_open = last.scanner.is_open and not last.scanner.may_begin(piece.arguments)
        return is_open and bool(piece.arguments) and (has_id or not piece.id)

    def _is_another(self, call: _Call, piece: Piece) -> bool:
        """Whether `piece` begins a call beside `call`, which has its number or comes before."""
        begins = piece.arguments.lstrip().startswith("{")
        if call.is_placeholder and begins and not piece.name:
            return bool(piece.id and call.ids and piece.id not in call.ids)
        if call.scanner.is_whole:
            if piece.id in call.ids and piece.arguments == call.arguments:
                return False
            if self._is_other_name(call, piece.name):
                return True
            if piece.name and piece.id and call.ids and piece.id not in call.ids:
                return True
            return begins
        if self._is_other_name(call, piece.name):
            return True
        is_other_id = bool(piece.id and call.ids and piece.id not in call.ids)
        if not is_other_id or not piece.name:
            return False
        if not call.text and not call.held:
            # Two calls without arguments, unless these are the first one's.
            return not piece.arguments
        if not call.scanner.is_open:
            # The arguments are no JSON, so only ids tell calls apart.
            return True
        return begins and not call.scanner.may_go_on(piece.arguments)

    def _is_other_name(self, call: _Call, name: str) -> bool:
        if not name or not call.name or name == call.name:
            return False
        joined = call.name + name
        if any(tool.startswith(joined) for tool in self._tools):
            return False
        if name.startswith(call.name) and call.name not in self._tools:
            return False
        return name in self._tools or call.name in self._tools or bool(call.text)

    def _is_repeated(self, piece: Piece) -> bool:
        return any(
            call.name == piece.name
            and (piece.id in call.ids or not piece.id or not call.ids)
            and call.arguments.strip() == piece.arguments.strip()
            for call in self._calls
        )

    # ---- what is told of it ---------------------------------------------------------------------

    def _name(self, call: _Call, name: str) -> None:
        if call.is_told or not name or name == call.name:
            return
        if name.startswith(call.name) and name in self._tools:
            call.name = name
        else:
            call.name += name

    def _write(self, call: _Call, piece: Piece) -> Iterator[CallDelta]:
        text = piece.arguments
        if not text or (call.scanner.is_whole and text == call.arguments):
            return
        if call.is_placeholder and text.lstrip().startswith("{"):
            # Empty arguments at first, where the endpoint it asks begins a call with an object.
            call.restart()
        elif call.scanner.is_open and text.startswith(call.head) and len(call.head) > 1:
            # No object goes on with its own first characters: the piece repeats what came before.
            text = text.removeprefix(call.arguments)
        end = call.scanner.feed(text)
        own, rest = (text, "") if end is None else (text[:end], text[end:])
        if own:
            call.text.append(own)
            call.held.append(own)
        if rest.lstrip().startswith("{"):
            # Two objects in one call: the model meant two calls.
            following = _Call(len(self._calls), call.index, name=call.name, likely_name=call.name)
            self._calls.append(following)
            self._touched.append(following)
            if self._is_name_sure(call):
                yield from self._tell(call)
            yield from self._write(following, Piece(arguments=rest.lstrip()))
            if self._is_name_sure(following):
                yield from self._tell(following)
        elif rest.strip():
            call.scanner.spoil()
            call.text.append(rest)
            call.held.append(rest)

    def _tell(self, call: _Call, *, is_end: bool = False) -> Iterator[CallDelta]:
        if call.is_placeholder and not is_end:
            return
        arguments = "".join(call.held)
        call.held.clear()
        if not call.is_told:
            call.is_told = True
            name = offered_name(call.name, self._tools)
            yield CallDelta(call.number, arguments, id=next(iter(call.ids), ""), name=name)
        elif arguments:
            yield CallDelta(call.number, arguments)


def offered_name(name: str, tools: Collection[str]) -> str:
    """The tool of `tools` that `name` means, or `name`.

    Some endpoints leave of a template's own notation on it: a name space before it, a number or
    a token of the model behind it.
    """
    if name in tools:
        return name
    plain = DECORATION.sub("", name)
    return next((one for one in (plain, NAME_SPACE.sub("", plain)) if one in tools), name)


def entries_of(value: JsonValue) -> Iterator[dict[str, JsonValue]]:
    """The entries of `tool_calls`: a list, one object, or objects by their number."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            raise UnreadableCall("tool_calls is a text") from None
    if isinstance(value, dict):
        is_one = any(key in value for key in ("function", "name", "id", "index"))
        value = [value] if is_one else list(value.values())
    if value is None:
        return
    if not isinstance(value, list):
        raise UnreadableCall("tool_calls is no list")
    for entry in value:
        if entry is None:
            continue
        if not isinstance(entry, dict):
            raise UnreadableCall("an entry of tool_calls is no object")
        yield entry


def piece_of(entry: dict[str, JsonValue]) -> Piece | None:
    """What an entry says, wherever it says it. None if that is nothing."""
    function = entry.get("function", entry.get("custom"))
    places = (function, entry) if isinstance(function, dict) else (entry,)
    name = function if isinstance(function, str) else places[0].get("name")
    keys = ("arguments", "parameters", "input")
    given = (place.get(key) for place in places for key in keys)
    arguments: JsonValue = next((value for value in given if value is not None), "")
    if not isinstance(arguments, str):
        arguments = json.dumps(arguments)
    index, call_id = entry.get("index"), entry.get("id")
    if isinstance(index, str) and index.isdecimal():
        index = int(index)
    piece = Piece(
        index=index if isinstance(index, int) and not isinstance(index, bool) else None,
        id="" if call_id is None else encodable(str(call_id)),
        name=encodable(name).strip() if isinstance(name, str) else "",
        arguments=encodable(arguments),
    )
    return piece if piece != Piece() else None
