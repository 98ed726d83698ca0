"""What the server keeps, as records. The fields of a record are the columns of its table."""

from typing import Literal

from runner.transcript import Record

Order = Literal["asc", "desc"]


class Blob(Record):
    """The content of a file in the folder of contents; it never changes."""

    name: str
    size_bytes: int
    sha256: str


class StoredFile(Record):
    """An uploaded file."""

    id: str
    owner: str
    filename: str
    purpose: str
    created_at: int
    expires_at: int | None = None
    size_bytes: int
    sha256: str
    blob: str


class ContainerRow(Record):
    """A container, without what only a running server knows of it."""

    id: str
    owner: str
    name: str
    created_at: int
    last_active_at: int
    idle_minutes: int
    memory_limit: str
    """As the client asked for it; empty leaves it to the owner of the server."""
    has_run: bool = False
    """Whether code ran in it, and with it whether there were variables to lose."""

    @property
    def expires_at(self) -> int:
        return self.last_active_at + self.idle_minutes * 60


class ContainerFile(Record):
    """A file of a container: put there by the user, or made by code."""

    id: str
    container_id: str
    owner: str
    path: str
    """From the root of the workspace."""
    created_at: int
    source: Literal["user", "assistant"]
    origin: str = ""
    """Id of the uploaded file that it is a copy of."""
    mime: str = "application/octet-stream"
    size_bytes: int
    sha256: str
    blob: str


class ResponseRow(Record):
    """A stored response; its longer parts as JSON."""

    id: str
    owner: str
    created_at: int
    status: str
    container_id: str = ""
    size_bytes: int
    body: str
    input_items: str
    transcript: str


class ConversationRow(Record):
    """A conversation; its metadata as JSON."""

    id: str
    owner: str
    created_at: int
    metadata: str
    size_bytes: int = 0


class ItemRow(Record):
    """An item of a conversation. `number` grows in the order of the conversation."""

    number: int | None = None
    conversation_id: str
    id: str
    owner: str
    body: str
    size_bytes: int
