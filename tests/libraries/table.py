"""Tries what of each library works in a copy of its session, and writes the table of it.

`python -m tests.libraries.table` tries them, or those named, and writes docs/survival.md. A
library that is not installed, or whose trial came to what must not be, keeps its row.
"""

import argparse
import importlib.util
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from sandbox import CopyRefused, Limits, Policy, Sandbox, Session
from tests.jail.corpus import Tier
from tests.libraries.works import WORKS, Work

PAGE = Path(__file__).parents[2] / "docs" / "survival.md"
BEGIN, END = "<!-- libraries -->\n", "<!-- end -->\n"
HEAD = "| library | survives a kill | checkpoint | branch | how |\n|---|---|---|---|---|\n"
YES, NO = "yes", "no"
LONG = Limits(wall_s=240, cpu_s=240, memory_bytes=2 << 30)
SHORT = Limits(wall_s=45, cpu_s=45, memory_bytes=2 << 30)
"""Time for what a copy takes milliseconds for, unless it hangs."""


class Untrue(Exception):
    """A copy was handed out that does not work, or its refusal says nothing of the library."""


class Row(NamedTuple):
    kill: str
    checkpoint: str
    branch: str


def is_installed(work: Work) -> bool:
    return importlib.util.find_spec(work.module.partition(".")[0]) is not None


def sandbox(tier: Tier) -> Sandbox:
    return Sandbox(Policy(tier=tier, limits=LONG), pool_size=0)


def row_of(box: Sandbox, work: Work) -> Row:
    """Try a library in sessions of `box`. Raises Untrue."""
    return Row(_survives_a_kill(box, work), _has_a_checkpoint(box, work), _has_a_branch(box, work))


def render(rows: Mapping[str, Row]) -> str:
    """The table, in the order of WORKS."""
    lines = (
        f"| {work.library} | {' | '.join(rows[work.library])} | {work.how} |\n"
        for work in WORKS
        if work.library in rows
    )
    return BEGIN + HEAD + "".join(lines) + END


def rows_in(text: str) -> dict[str, tuple[Row, str]]:
    """The rows of a page by library, each with what it says of how."""
    found = {}
    for line in text.partition(BEGIN)[2].partition(END)[0].splitlines()[2:]:
        library, kill, checkpoint, branch, how = (part.strip() for part in line.split("|")[1:-1])
        found[library] = (Row(kill, checkpoint, branch), how)
    return found


def _started(box: Sandbox, work: Work) -> Session:
    """A session in which the library has done something."""
    session = box.session()
    outcome = session.run(work.setup + work.use)
    if outcome.text != work.expected:
        session.close()
        raise Untrue(f"{work.library} does not work at all: {outcome}")
    if outcome.survives is bool(work.reason) or work.reason not in outcome.survives_reason:
        session.close()
        raise Untrue(f"{work.library}: survives={outcome.survives}: {outcome.survives_reason}")
    return session


def _check_use(session: Session, work: Work, place: str) -> None:
    outcome = session.run(work.use, limits=SHORT)
    if outcome.text != work.expected:
        raise Untrue(f"{work.library} does not work {place}: {outcome}")


def _survives_a_kill(box: Sandbox, work: Work) -> str:
    with _started(box, work) as session:
        killed = session.run("import os; os._exit(1)")
        if killed.survives is not (killed.state == "rolled_back"):
            raise Untrue(f"{work.library}: state {killed.state}, survives={killed.survives}")
        if not killed.survives:
            return _refused(work.reason, killed.survives_reason)
        _check_use(session, work, "after a kill")
        return YES


def _has_a_checkpoint(box: Sandbox, work: Work) -> str:
    with _started(box, work) as session:
        try:
            mark = session.checkpoint()
        except CopyRefused as refusal:
            return _refused(work.reason, str(refusal))
        session.rollback(mark)
        _check_use(session, work, "after a rollback")
        return YES


def _has_a_branch(box: Sandbox, work: Work) -> str:
    if box.policy.tier != "namespaces":
        return ""
    with _started(box, work) as session:
        try:
            branch = session.fork()
        except CopyRefused as refusal:
            _check_use(session, work, "after a branch was refused")
            return _refused(work.branch_reason or work.reason, str(refusal))
        with branch:
            _check_use(branch, work, "in a branch")
        _check_use(session, work, "beside its branch")
        return YES


def _refused(reason: str, said: str) -> str:
    if not reason or reason not in said:
        raise Untrue(f"refused with {said!r}, which should name {reason!r}")
    return NO


def _tried(works: Iterator[Work]) -> Iterator[tuple[str, Row]]:
    with sandbox("namespaces") as box:
        for work in works:
            try:
                yield work.library, row_of(box, work)
            except Untrue as error:
                print(f"NOT WRITTEN: {error}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("libraries", nargs="*")
    wanted = parser.parse_args().libraries
    page = PAGE.read_text()
    rows = {library: row for library, (row, _how) in rows_in(page).items()}
    works = (w for w in WORKS if is_installed(w) and (not wanted or w.library in wanted))
    for library, row in _tried(works):
        print(library, *row, sep=" | ", flush=True)
        rows[library] = row
    table = re.compile(re.escape(BEGIN) + ".*" + re.escape(END), re.DOTALL)
    PAGE.write_text(table.sub(lambda _old: render(rows), page))


if __name__ == "__main__":
    main()
