"""One term for one thing: words that were given up are not to come back in their old senses.

ARCHITECTURE.md's glossary has the words that stand in their place.
"""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).relative_to(ROOT).as_posix()
FOLDERS = ("sandbox", "runner", "tests", "benchmarks", "docs")
TEXTS = (".py", ".md", ".toml")
GLOSSARY = "ARCHITECTURE.md"
"""Names the words that are given up."""


class GivenUp(NamedTuple):
    """A word, where it must not stand, and what is said instead."""

    pattern: str
    instead: str
    below: str = ""


WORDS = (
    GivenUp(r"keepers?", "standby; HeadTailBuffer"),
    GivenUp(r"outputkeeper", "HeadTailBuffer"),
    GivenUp(r"travell?ers?", "entrant"),
    GivenUp(r"makers?", "setup process; namespace builder", "sandbox/guest/boot"),
    GivenUp(r"makers?", "namespace builder", "sandbox/guest/branching"),
    GivenUp(r"makers?", "namespace builder", "sandbox/processes"),
    GivenUp(r"makers?", "namespace builder", "sandbox/protocol"),
    GivenUp(r"strays?", "escaped process"),
    GivenUp(r"realms?", "namespace members", "sandbox"),
    GivenUp(r"call filters?", "seccomp filter"),
    GivenUp(r"control groups?", "cgroup"),
    GivenUp(r"conclusions?", "outcome", "sandbox"),
    GivenUp(r"standins?", "safe_builtins", "sandbox"),
    GivenUp(r"arenas?", "candidate", "runner/evals"),
    GivenUp(r"(?-i:Gate)", "SeccompNotifier; ImportHook; RequestMiddleware"),
    GivenUp(r"(?-i:Wire)", "HostChannel; GuestChannel", "sandbox"),
    GivenUp(r"(?-i:Wire)", "StatusLine", "runner"),
    GivenUp(r"(?-i:Said)", "TextDelta; AnswerPiece; Report", "runner/models"),
    GivenUp(r"(?-i:Said)", "Report", "tests/jail"),
    GivenUp(r"supervisors?", "host; zygote; init"),
    GivenUp(r"--draws", "--generations", "docs"),
    GivenUp(r"(?-i:Bell)", "self-pipe poller"),
    GivenUp(r"(?-i:Parked|Park|Copied)", "ForkCopy; CopyReady; CopyResult"),
    GivenUp(r"(?-i:Admit|Shut|Sweep|Passage)", "AllowSetns; DenySetns; KillEscaped; SetnsGrant"),
    GivenUp(r"(?-i:Thought|CallWritten)", "ReasoningDelta; ArgumentsDelta"),
    GivenUp(r"(?-i:Exam|COMPANY|PATIENCE)", "TestPlan; BATCH_MIN; BATCH_WAIT_S"),
    GivenUp(
        r"evals[./](?:\w+[./])?(?:bench|tries|endings|draws|arena|plain|rehearsed)", "see there"
    ),
    GivenUp(
        r"sandbox[./](?:wire|copies|snapshots|conclusion|lifecycle|lifetime|inherited)",
        "the modules of sandbox/processes and sandbox/session",
    ),
)
PERSONS = re.compile(r"\b(who|whom|whoever|nobody|somebody)\b", re.IGNORECASE)
PEOPLE = re.compile(r"\b(users?|people|clients?|callers?|readers?|models?)\b", re.IGNORECASE)
"""Of whom these words may be said."""


@cache
def texts() -> tuple[tuple[str, str], ...]:
    """Path and text of every file that people read."""
    return tuple(_read_texts())


def _read_texts() -> Iterator[tuple[str, str]]:
    paths = [path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*"))]
    for path in (*sorted(ROOT.glob("*")), *paths):
        name = path.relative_to(ROOT).as_posix()
        if name in (GLOSSARY, HERE) or "node_modules" in path.parts or not path.is_file():
            continue
        if path.suffix in TEXTS or path.name == "Makefile":
            yield name, path.read_text()


def found(word: GivenUp, name: str, text: str) -> Iterator[str]:
    """Where `word` stands in `text`, as a word of prose or a part of a name."""
    if word.below and not name.startswith(f"{word.below}/"):
        return
    pattern = re.compile(rf"(?<![A-Za-z])(?:{word.pattern})(?![A-Za-z])", re.IGNORECASE)
    if not pattern.search(text):
        return
    for number, line in enumerate(text.splitlines(), 1):
        if pattern.search(line):
            yield f"{name}:{number}: {line.strip()[:80]}"


@pytest.mark.parametrize("word", WORDS, ids=lambda word: f"{word.pattern} {word.below}".strip())
def test_a_word_that_was_given_up_is_not_used(word: GivenUp) -> None:
    places = [place for name, text in texts() for place in found(word, name, text)]
    assert places == [], f"say {word.instead}"


def first_lines() -> Iterator[tuple[str, int, str]]:
    """The first line of each docstring of the packages, with its place."""
    for package in ("sandbox", "runner"):
        for path in sorted((ROOT / package).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(
                    node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
                ):
                    text = ast.get_docstring(node)
                    if text:
                        line = getattr(node, "lineno", 1)
                        yield path.relative_to(ROOT).as_posix(), line, text.splitlines()[0]


def test_first_lines_of_docstrings_speak_of_processes_by_name() -> None:
    persons = [
        f"{name}:{line}: {text}"
        for name, line, text in first_lines()
        if PERSONS.search(text) and not PEOPLE.search(text)
    ]
    assert persons == []


NO_VERB = re.compile(
    r"A|After|All|An|And|Another|As|At|Before|Bytes|Code|Each|Events|Every|For|From|How|If|In|Init|It"
    r"|Its|More|Names|No|None|Nothing|Now|Of|On|One|Or|Source|Such|Text|That|The|There|These|They"
    r"|This|Those|To|What|When|Where|Whether|Which|With"
)
"""With these words begins what a thing is, not what a function does."""


def actions() -> Iterator[tuple[str, int, str]]:
    """The first line of each public function that gives nothing back, with its place."""
    for package in ("sandbox", "runner"):
        for path in sorted((ROOT / package).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text())):
                if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                    continue
                is_action = isinstance(node.returns, ast.Constant) and node.returns.value is None
                text = ast.get_docstring(node)
                if text and is_action and not node.name.startswith("_"):
                    yield path.relative_to(ROOT).as_posix(), node.lineno, text.splitlines()[0]


def begins_with_a_verb(line: str) -> bool:
    """Whether the first word can be one: no code, no word of the list."""
    word = line.split()[0].rstrip(",:")
    return word.isalpha() and word[0].isupper() and not NO_VERB.fullmatch(word)


def test_first_lines_of_functions_that_only_act_begin_with_a_verb() -> None:
    nouns = [f"{n}:{line}: {text}" for n, line, text in actions() if not begins_with_a_verb(text)]
    assert nouns == []


@pytest.mark.parametrize(
    ("line", "is_verb"),
    [
        ("Close the channel.", True),
        ("Kill, wait, and give back.", True),
        ("The channel is closed.", False),
        ("`close` tells.", False),
        ("Source: mount(2).", False),
    ],
)
def test_a_verb_is_told_from_a_noun(line: str, is_verb: bool) -> None:
    assert begins_with_a_verb(line) is is_verb


@pytest.mark.parametrize(
    ("word", "line", "is_found"),
    [
        (GivenUp("keepers?", ""), "the keeper goes on", True),
        (GivenUp("keepers?", ""), "self._keeper = fork()", True),
        (GivenUp("keepers?", ""), "a bookkeeper", False),
        (GivenUp("(?-i:Gate)", ""), "class Gate:", True),
        (GivenUp("(?-i:Gate)", ""), "opens the gate", False),
        (GivenUp("(?-i:Gate)", ""), "class EntryGate:", False),
        (GivenUp("makers?", "", "sandbox/guest/boot"), "the maker", False),
    ],
)
def test_a_word_is_found_as_a_word(word: GivenUp, line: str, is_found: bool) -> None:
    assert bool(list(found(word, "runner/x.py", line))) is is_found
