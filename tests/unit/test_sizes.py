"""Sizes that a reader can hold: of files, classes and folders.

What is larger has its reason in a table here. A row that is not needed any more fails as well.
"""

import ast
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILE_LINES = 500
CLASS_LINES = 350
CLASS_ATTRIBUTES = 20
FOLDER_MODULES = 15

LARGER = {  # what: why
    "sandbox/guest/jail/callrules.py": "a table: one row for each system call, with its reason",
    "sandbox/protocol/plan.py: JailPlan": "a table: one field for each thing that a jail needs",
    "sandbox/session/session.py: AsyncSession": "the public face: a call each, with its contract",
    "sandbox/session/commands/command.py: AsyncCommand": "a command from start to last byte",
    "sandbox/processes/worker.py: Worker": "a handle on each process and channel of a session",
    "runner/faces": "a module for each framework, and each is imported alone",
    "runner/server/services.py: Services": "a table: one field for each thing that routes share",
    "runner/config.py: ServerSettings": "a table: one field for each setting of a server",
    "runner/config.py: ModelSettings": "a table: one field for each setting of a model",
    "runner/dialects/responses_events.py: ResponsesWriter": "a format: one method for each event",
    "tests/unit/test_layers.py": "tables: the order, and a counter-example for each rule",
    "tests/unit/test_seccomp.py": "tables: system calls and what the filter answers",
}


def test_what_is_larger_than_a_reader_can_hold_has_its_reason() -> None:
    found = {what: size for package in ("sandbox", "runner") for what, size in sizes(ROOT, package)}
    found |= {
        what: size
        for package in ("tests", "benchmarks")
        for what, size in sizes(ROOT, package)
        if what.endswith(".py")
    }
    assert {what: size for what, size in found.items() if what not in LARGER} == {}
    assert LARGER.keys() - found.keys() == set(), "these are small enough now"


def sizes(root: Path, package: str) -> Iterator[tuple[str, str]]:
    """What below `package` is over a size, and how large it is."""
    modules: Counter[Path] = Counter()
    for path in sorted((root / package).rglob("*.py")):
        source = path.read_text()
        name = path.relative_to(root).as_posix()
        modules[path.parent] += path.name != "__init__.py"
        lines = len(source.splitlines())
        if lines > FILE_LINES:
            yield name, f"{lines} lines"
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.ClassDef):
                large = _size_of(node)
                if large:
                    yield f"{name}: {node.name}", large
    for folder, count in modules.items():
        if count > FOLDER_MODULES:
            yield folder.relative_to(root).as_posix(), f"{count} modules"


def _size_of(node: ast.ClassDef) -> str:
    lines = (node.end_lineno or node.lineno) - node.lineno + 1
    if lines > CLASS_LINES:
        return f"{lines} lines"
    attributes = {*_assigned(node), *_declared(node)}
    return f"{len(attributes)} attributes" if len(attributes) > CLASS_ATTRIBUTES else ""


def _declared(node: ast.ClassDef) -> Iterator[str]:
    for part in node.body:
        if isinstance(part, ast.AnnAssign) and isinstance(part.target, ast.Name):
            yield part.target.id


def _assigned(node: ast.ClassDef) -> Iterator[str]:
    for part in ast.walk(node):
        if (
            isinstance(part, ast.Attribute)
            and isinstance(part.ctx, ast.Store)
            and isinstance(part.value, ast.Name)
            and part.value.id == "self"
        ):
            yield part.attr


FIELDS = "\n".join(f"    a{number}: int" for number in range(12))
ASSIGNED = "\n".join(f"        self.b{number} = 1" for number in range(9))


@pytest.mark.parametrize(
    ("files", "found"),
    [
        ({"p/a.py": "x = 1\n" * 501}, {"p/a.py": "501 lines"}),
        ({"p/a.py": "x = 1\n" * 500}, {}),
        ({"p/a.py": '"""Longer than others."""\n' + "x = 1\n" * 500}, {"p/a.py": "501 lines"}),
        ({"p/a.py": "class A:\n" + "    x = 1\n" * 350}, {"p/a.py: A": "351 lines"}),
        (
            {"p/a.py": f"class A:\n{FIELDS}\n    def __init__(self):\n{ASSIGNED}\n"},
            {"p/a.py: A": "21 attributes"},
        ),
        ({f"p/q/m{number}.py": "" for number in range(16)}, {"p/q": "16 modules"}),
        ({"p/__init__.py": "", **{f"p/m{number}.py": "" for number in range(15)}}, {}),
    ],
)
def test_what_is_too_large_is_found(
    tmp_path: Path, files: Mapping[str, str], found: Mapping[str, str]
) -> None:
    for name, source in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source)
    assert dict(sizes(tmp_path, "p")) == found
