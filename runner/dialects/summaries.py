"""Summaries that stand for a conversation, as the items of a compaction hold them.

Opaque to clients, as OpenAI's are, and no secret: each was made of the client's own conversation.
One that comes back is read like anything else that a client says.
"""

import base64
import json

from runner.dialects.fields import Fields
from runner.transcript import Instruction, compact


def seal(summary: str, container_id: str) -> str:
    """What an item holds of `summary` and of the container that the code ran in."""
    kept = compact({"summary": summary, "container_id": container_id})
    return base64.urlsafe_b64encode(kept.encode()).decode()


def summary_of(item: Fields) -> tuple[Instruction, str]:
    """The summary in a compaction item, and the container that it goes on in."""
    try:
        sealed = (item.text("encrypted_content") or "").encode()
        kept = json.loads(base64.b64decode(sealed, altchars=b"-_", validate=True))
        summary, container_id = kept["summary"], kept["container_id"]
        if not isinstance(summary, str) or not isinstance(container_id, str):
            raise TypeError
    except (ValueError, TypeError, KeyError, RecursionError):
        raise item.wrong("encrypted_content", "was not made by this server") from None
    return Instruction(text=f"Summary of the conversation so far:\n{summary}"), container_id
