"""Forks of E2B's sandboxes: all that were asked for, or none."""

from types import SimpleNamespace

import pytest

from runner.server.e2b.requests import Wanted
from runner.server.e2b.sandboxes import Sandboxes
from sandbox import SandboxError


class Table:
    def __init__(self) -> None:
        self.live = {"a", "b", "c"}

    async def branch(self, _held: object, _account: object, count: int) -> list[SimpleNamespace]:
        assert count == 3
        return [SimpleNamespace(id=name) for name in sorted(self.live)]

    async def end(self, held: SimpleNamespace) -> None:
        self.live.remove(held.id)


@pytest.mark.parametrize("failing", ["a", "b", "c"])
async def test_a_fork_that_fails_leaves_no_session(
    monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    table = Table()
    sandboxes = Sandboxes(table)  # type: ignore[arg-type]

    async def adopt(held: SimpleNamespace, *_more: object) -> SimpleNamespace:
        if held.id == failing:
            await table.end(held)
            raise SandboxError("no more")
        return SimpleNamespace(id=held.id, held=held)

    async def end(sandbox: SimpleNamespace) -> None:
        await table.end(sandbox.held)

    monkeypatch.setattr(sandboxes, "adopt", adopt)
    monkeypatch.setattr(sandboxes, "end", end)
    source = SimpleNamespace(
        wanted=Wanted("base", 60, {}, {}, False, False), held=None, account=None
    )
    with pytest.raises(SandboxError, match="no more"):
        await sandboxes.fork(source, 3, 60)  # type: ignore[arg-type]
    assert table.live == set()
