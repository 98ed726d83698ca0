"""What snippets of a test echo."""

from sandbox import Session


def text(session: Session, code: str) -> str | None:
    """The echo of `code`, which must complete."""
    outcome = session.run(code)
    assert outcome.status == "completed", outcome
    return outcome.text
