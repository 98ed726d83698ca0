"""What an endpoint will not have in a request: told by the config, or learned from a refusal.

A refusal that names a field which the answer does not depend on is believed once, and remembered
for that model. What a client asked for and would miss, a stop word or a format, is never left out:
such a refusal reaches the client.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from pydantic import JsonValue

from runner.errors import UpstreamError

ALIKE = {"max_tokens": "max_completion_tokens", "max_completion_tokens": "max_tokens"}
"""Fields that mean the same; one is used in place of the other."""
SPARED = (
    "stream_options",
    "parallel_tool_calls",
    "strict",
    "tool_choice",
    "temperature",
    "top_p",
    "top_k",
    "seed",
    "presence_penalty",
    "frequency_penalty",
    "user",
    "metadata",
    "service_tier",
    "safety_identifier",
    "prompt_cache_key",
    "prompt_cache_options",
    "prompt_cache_retention",
    "store",
    "enable_thinking",
    "thinking_budget",
    "chat_template_kwargs",
    "reasoning_effort",
)
"""Fields without which a request still asks the same, in the order in which they are given up."""
REFUSES = re.compile(
    r"un(?:supported|known|recogni[sz]ed|expected|permitted)|not (?:supported|permitted|allowed|"
    r"recogni[sz]ed|available|valid|accepted)|(?:does|do|did) not (?:support|accept|allow)|"
    r"doesn't support|extra_forbidden|extra (?:inputs?|fields?|parameters?)|additional propert|"
    r"only the default|deprecated|cannot (?:be used|use|set)|incompatible|no longer|"
    r"invalid (?:field|parameter|argument|key)|unsupported_parameter|is not a valid|"
    r"cannot both|only (?:allowed|available|supported)|不支持|未知|无效|非法|不允许",
    re.IGNORECASE,
)
TAKEN = re.compile(r"expected one of|did you mean|(?:allowed|valid|supported|known) \w+ are", re.I)
"""What comes behind these words are fields that the endpoint takes."""
UNASKED = {"tool_choice": "auto"}
"""Fields that only go without saying where they have this value."""
OUT_OF_RANGE = re.compile(
    r"too (?:large|small|long|high|low)|at (?:most|least)|between|maximum context|context length|"
    r"exceed|out of range|less than|greater than|(?:<|>)=? ?\d",
    re.IGNORECASE,
)
NEVER = (401, 403, 408, 429)
MODELS_KEPT = 256


@dataclass(slots=True)
class Habits:
    """What one model of an endpoint is known to want."""

    omitted: set[str] = field(default_factory=set)
    renamed: dict[str, str] = field(default_factory=dict)
    opens_thinking: bool | None = None
    """Whether its answers begin inside thinking; None while no answer has shown it."""

    def fit(self, body: Mapping[str, object]) -> dict[str, object]:
        """`body` as this model takes it."""
        found: dict[str, object] = {}
        for name, value in body.items():
            if name not in self.omitted or UNASKED.get(name, value) != value:
                found[self.renamed.get(name, name)] = value
        if "strict" in self.omitted and isinstance(found.get("tools"), list):
            found["tools"] = [_without_strict(tool) for tool in found["tools"]]  # type: ignore[attr-defined]
        return found

    def learn(self, error: UpstreamError, sent: Mapping[str, object]) -> str:
        """The field of `sent` that `error` refuses and that is left out or renamed from now on;
        empty if it refuses none of these."""
        if error.status in NEVER or not error.answer:
            return ""
        words = TAKEN.split(error.answer)[0]
        if not REFUSES.search(words) or OUT_OF_RANGE.search(words):
            return ""
        for name, other in ALIKE.items():
            if name in sent and _names(words, name) and self.renamed.get(other) != name:
                origin = next((key for key, to in self.renamed.items() if to == name), name)
                self.renamed[origin] = other
                return name
        named = param_of(error.answer)
        for name in SPARED:
            if _is_sent(name, sent) and (name == named if named else _names(words, name)):
                self.omitted |= {key for key, to in self.renamed.items() if to == name} | {name}
                return name
        return ""


class Memory:
    """Habits by model, of one endpoint."""

    def __init__(
        self, *, omit: tuple[str, ...] = (), rename: Mapping[str, str] | None = None
    ) -> None:
        self._omit = omit
        self._rename = dict(rename or {})
        self._known: dict[str, Habits] = {}

    def of(self, model: str) -> Habits:
        """What is known of `model`."""
        found = self._known.get(model)
        if found is None:
            if len(self._known) >= MODELS_KEPT:
                del self._known[next(iter(self._known))]
            found = self._known[model] = Habits(set(self._omit), dict(self._rename))
        return found


def param_of(words: str) -> str:
    """The field that an error's JSON says is at fault, one of `SPARED`; empty if it says none."""
    try:
        found: JsonValue = json.loads(words)
    except (ValueError, RecursionError):
        return ""
    for place in _places(found):
        for name in SPARED:
            if name in re.split(r"[.\[\]]+", place):
                return name
    return ""


def _places(value: JsonValue, depth: int = 0) -> list[str]:
    """Texts under `param` and `loc`, wherever they stand."""
    found: list[str] = []
    if depth > 8:
        return found
    for inner in value if isinstance(value, list) else ():
        found += _places(inner, depth + 1)
    for key, inner in value.items() if isinstance(value, dict) else ():
        if key == "param" and isinstance(inner, str):
            found.append(inner)
        elif key == "loc" and isinstance(inner, list):
            found.append(".".join(map(str, inner)))
        else:
            found += _places(inner, depth + 1)
    return found


def _names(words: str, name: str) -> bool:
    head, *rest = name.split("_")
    either = {name, head + "".join(map(str.title, rest)), " ".join((head, *rest))}
    found = "|".join(map(re.escape, either))
    return re.search(rf"(?<![A-Za-z_])(?:{found})(?![A-Za-z_])", words) is not None


def _is_sent(name: str, sent: Mapping[str, object]) -> bool:
    if name in UNASKED:
        return sent.get(name) == UNASKED[name]
    if name != "strict":
        return name in sent
    tools = sent.get("tools")
    return isinstance(tools, list) and any(
        isinstance(tool, dict) and "strict" in tool.get("function", {}) for tool in tools
    )


def _without_strict(tool: object) -> object:
    if not isinstance(tool, dict) or not isinstance(tool.get("function"), dict):
        return tool
    function = {key: value for key, value in tool["function"].items() if key != "strict"}
    return {**tool, "function": function}
