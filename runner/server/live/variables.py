"""Variables of a session as REST shows them."""

from pydantic import BaseModel, ConfigDict

from runner.errors import RequestError
from runner.transcript import encodable
from sandbox import AsyncSession, ValueNotCarried


class Variable(BaseModel):
    """A variable as the guest describes it."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    name: str
    type: str
    shape: list[int] | None
    size_bytes: int
    preview: str


async def variables_of(session: AsyncSession) -> list[Variable]:
    """The variables of `session` that are no modules and no private names.

    Raises RequestError when the session answers nonsense; SandboxError.
    """
    try:
        found = await session.variables()
    except ValueNotCarried as error:
        raise RequestError("conflict", str(error)) from error
    return [
        Variable(
            name=encodable(one.name),
            type=encodable(one.type),
            shape=None if one.shape is None else list(one.shape),
            size_bytes=one.size_bytes,
            preview=encodable(one.preview),
        )
        for one in found
    ]
