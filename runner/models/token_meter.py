"""TokenMeter: what a request has spent, over all its rounds."""

from collections.abc import Sequence

from runner.transcript import Entry, Turn, Usage

CHARS_A_TOKEN = 5
"""For an estimate that stays below the truth, until the upstream tells it."""


class TokenMeter:
    """Tokens of all rounds; the one account that every dialect bills from."""

    def __init__(self) -> None:
        self._past = Usage()
        self._seen: Usage | None = None
        self._input = self._thought = self._written = 0

    @property
    def usage(self) -> Usage:
        """All rounds so far; the current one is estimated until the upstream counts it."""
        return self._past + self._round()

    def begin(self, entries: Sequence[Entry]) -> None:
        """Begin a round with `entries` as its prompt."""
        self._past += self._round()
        self._seen = None
        self._thought = self._written = 0
        self._input = sum(map(_chars, entries))

    def thought(self, text: str) -> None:
        self._thought += len(text)

    def wrote(self, text: str) -> None:
        self._written += len(text)

    def saw(self, usage: Usage) -> None:
        """Take the upstream's own count of the current round."""
        self._seen = usage

    def _round(self) -> Usage:
        if self._seen is None:
            reasoning = _tokens(self._thought)
            return Usage(
                input_tokens=_tokens(self._input),
                output_tokens=reasoning + _tokens(self._written),
                reasoning_tokens=reasoning,
            )
        if self._thought and not self._seen.reasoning_tokens:
            # It counts thinking as output without saying how much of it: split by length.
            share = self._thought / (self._thought + self._written)
            reasoning = round(self._seen.output_tokens * share)
            return self._seen.model_copy(update={"reasoning_tokens": reasoning})
        return self._seen


def _chars(entry: Entry) -> int:
    if isinstance(entry, Turn):
        calls = sum(len(call.arguments) for call in entry.calls)
        return len(entry.text) + calls + sum(len(result.shown) for result in entry.results)
    return len(entry.text)


def _tokens(chars: int) -> int:
    return -(-chars // CHARS_A_TOKEN)
