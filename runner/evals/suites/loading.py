"""A suite by its name, with its tasks from a file that is here."""

from fnmatch import fnmatchcase
from pathlib import Path
from typing import NamedTuple

from runner.evals.errors import BadInput
from runner.evals.samples import files
from runner.evals.samples.files import Source
from runner.evals.samples.records import Task
from runner.evals.suites import SUITES
from runner.evals.suites.base import Suite


class Loaded(NamedTuple):
    """A suite that is ready for samples."""

    suite: Suite
    tasks: dict[str, Task]
    source: Source


def load_suite(name: str, data: str | Path | None, sha256: str | None = None) -> Loaded:
    """The suite called `name`, from the file `data` or an installed package.

    `sha256` is what the file must have, where that is known. Raises BadInput.
    """
    kind = SUITES.get(name)
    if kind is None:
        raise BadInput("", f"there is no suite {name!r}", remedy=f"Suites are {', '.join(SUITES)}")
    path = Path(data) if data is not None else files.packaged(kind.packaged)
    if path is None:
        raise BadInput(
            "",
            f"the data of {name} is not installed here",
            remedy=f"{kind.brought_by}; nothing is downloaded",
        )
    source = files.read(path)
    if sha256 is not None and source.sha256 != sha256.lower():
        raise BadInput(
            source.path,
            f"is {source.sha256} and must be {sha256.lower()}",
            field="sha256",
            remedy="This is another version of the suite, or a broken copy",
        )
    suite = kind()
    try:
        return Loaded(suite, suite.load(source.rows), source)
    except BadInput as error:
        raise error if error.file else BadInput(source.path, error.problem) from None


def choose(tasks: dict[str, Task], pattern: str, limit: int | None) -> dict[str, Task]:
    """The tasks whose ids match `pattern`, and of these the first `limit`. Raises BadInput."""
    found = [task for task in tasks.values() if not pattern or fnmatchcase(task.task_id, pattern)]
    if not found:
        raise BadInput(
            "",
            f"no task is called {pattern!r}",
            field="--tasks",
            remedy=f"Its tasks are called like {next(iter(tasks), 'none')!r}",
        )
    return {task.task_id: task for task in found[:limit]}
