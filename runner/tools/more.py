"""More of a run than a model reads: what it displayed, what it cost, what was refused, what held.

Kept with the run for a person who looks at it, and therefore bounded.
"""

from collections.abc import Sequence
from typing import cast

from pydantic import JsonValue

from runner.transcript import MadeFile
from sandbox import Outcome

DISPLAYS_KEPT = 16
DISPLAY_CHARS = 256 * 1024
"""Of all forms of all displays together; what does not fit is left out, and counted."""
DENIALS_KEPT = 20
FORMS = ("text/html", "text/markdown", "text/latex", "application/json", "text/plain")
IMAGE = "image/"


def more_of(outcome: Outcome, files: Sequence[MadeFile]) -> dict[str, JsonValue]:
    """The parts of `outcome` as JSON. A picture stands as an empty mark: it is kept elsewhere."""
    displays: list[JsonValue] = []
    left, dropped = DISPLAY_CHARS, 0
    for bundle in outcome.displays[:DISPLAYS_KEPT]:
        kept: dict[str, JsonValue] = {}
        for form in FORMS:
            text = bundle.get(form)
            if text is None:
                continue
            if len(text) > left:
                dropped += 1
                continue
            kept[form] = text
            left -= len(text)
        kept |= {form: "" for form in bundle if form.startswith(IMAGE)}
        displays.append(kept)
    dropped += len(outcome.displays[DISPLAYS_KEPT:])
    denials = [one.model_dump(mode="json") for one in outcome.denials[:DENIALS_KEPT]]
    return {
        "displays": displays,
        "displays_dropped": dropped,
        "denials": cast(list[JsonValue], denials),
        "files": [
            {
                "path": one.path,
                "bytes": one.size_bytes,
                "mime": one.mime,
                "file_id": one.file_id or None,
                "not_kept": one.not_kept or None,
            }
            for one in files
        ],
        "usage": outcome.usage.model_dump(mode="json"),
        "truncated": outcome.truncated.model_dump(mode="json"),
        "status": outcome.status,
        "state": outcome.state,
        "tier": outcome.tier,
        "layers": list(outcome.layers),
    }
