"""Any order of forks, deaths and rollbacks keeps every session its own."""

from typing import NamedTuple

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from sandbox import (
    Sandbox,
    Session,
)
from sandbox.outcome import Completed
from sandbox.session.checkpoints import Checkpoint
from tests.jail.branching import text


class BranchMachine(RuleBasedStateMachine):
    """Sessions with branches, and plain models of their variables, take the same steps."""

    def __init__(self, box: Sandbox) -> None:
        super().__init__()
        self.box = box
        self.lines: list[Line] = []

    @initialize()
    def open(self) -> None:
        self.lines = [Line(self.box.session(), {}, [])]
        text(self.lines[0].session.run("import os"))

    @rule(at=st.integers(0, 9), name=st.sampled_from("abc"), value=st.integers(0, 9))
    def assign(self, at: int, name: str, value: int) -> None:
        line = self.pick(at)
        assert isinstance(line.session.run(f"{name} = {value}"), Completed)
        line.model[name] = value

    @rule(at=st.integers(0, 9), name=st.sampled_from("abc"), value=st.integers(10, 19))
    def raise_half_way(self, at: int, name: str, value: int) -> None:
        line = self.pick(at)
        assert line.session.run(f"{name} = {value}\n1 / 0").state == "kept"
        line.model[name] = value

    @rule(
        at=st.integers(0, 9),
        name=st.sampled_from("abc"),
        death=st.sampled_from(["os._exit(1)", "os.kill(os.getpid(), 9)"]),
    )
    def die(self, at: int, name: str, death: str) -> None:
        outcome = self.pick(at).session.run(f"{name} = -1\n{death}")
        assert (outcome.status, outcome.state) == ("died", "rolled_back")

    @rule(at=st.integers(0, 9))
    def checkpoint(self, at: int) -> None:
        line = self.pick(at)
        if len(line.marks) < 4:
            line.marks.append((line.session.checkpoint(), dict(line.model)))

    @rule(at=st.integers(0, 9), mark=st.integers(0, 9))
    def rollback(self, at: int, mark: int) -> None:
        line = self.pick(at)
        if line.marks:
            checkpoint, model = line.marks[mark % len(line.marks)]
            line.session.rollback(checkpoint)
            line.model.clear()
            line.model.update(model)

    @precondition(lambda self: len(self.lines) < 5)
    @rule(at=st.integers(0, 9), n=st.integers(1, 2))
    def fork(self, at: int, n: int) -> None:
        line = self.pick(at)
        for branch in line.session.fork(n):
            self.lines.append(Line(branch, dict(line.model), []))

    @precondition(lambda self: len(self.lines) > 1)
    @rule(at=st.integers(0, 9))
    def close(self, at: int) -> None:
        line = self.pick(at)
        line.session.close()
        self.lines.remove(line)

    @invariant()
    def variables_are_those_of_the_models(self) -> None:
        for line in self.lines:
            seen = text(line.session.run("[globals().get(name) for name in 'abc']"))
            assert seen == repr([line.model.get(name) for name in "abc"])

    def pick(self, at: int) -> "Line":
        return self.lines[at % len(self.lines)]

    def teardown(self) -> None:
        for line in self.lines:
            line.session.close()


class Line(NamedTuple):
    """One session of the machine, what its variables must be, and what its checkpoints hold."""

    session: Session
    model: dict[str, int]
    marks: list[tuple[Checkpoint, dict[str, int]]]


def test_any_order_of_forks_deaths_and_rollbacks_keeps_every_session_its_own() -> None:
    with Sandbox(pool_size=1) as box:
        run_state_machine_as_test(
            lambda: BranchMachine(box),  # type: ignore[arg-type]
            settings=settings(
                max_examples=7,
                stateful_step_count=14,
                deadline=None,
                derandomize=True,
                suppress_health_check=list(HealthCheck),
            ),
        )
