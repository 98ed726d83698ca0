"""The blocks of code in a text: which lines are one.

Fences are read by CommonMark 0.31, section 4.5, where an answer keeps to it. Models damage them
in ways that a Markdown parser has to take at its word (an opening or a closing that is missing,
code behind a closing, bare fences in a docstring), so the lines are read here: of the readings
that are possible, the one counts whose code is Python. Pure: nothing of an answer is run.
"""

import re
import textwrap
from itertools import islice
from typing import NamedTuple

from runner.evals.samples.python_source import PARSED_CAP, defined_by, is_code, is_python
from runner.evals.samples.wrappings import legible

FENCE = re.compile(
    r"(?P<quote>(?: {0,3}>){0,9})(?P<indent>[ \t]*(?:(?:[-*+]|\d{1,9}[.)])[ \t]+){0,9})"
    r"(?P<marks>`{3,}(?=[^`]*$)|~{3,})[ \t]*(?P<info>.*)"
)
QUOTE = re.compile(r"\A {0,3}> ?")
LIST_ITEM = re.compile(r"[ \t]*(?:[-*+]|\d{1,9}[.)])[ \t]")
LINE_END = re.compile(r"\r\n|\n|\r")
TAG = re.compile(r"\{?[\s.]*([\w.+#-]*)")
NESTED_CAP = 3
TEXT_CAP = 200_000
"""Characters of an answer beyond which it is taken as it is."""
FENCES_CAP = 200
"""Lines that may be fences; those behind them are none."""
BLOCKS_CAP = 50
TRIES = 6
"""How many readings of one place are tried."""

CODE_LINE = re.compile(
    r"\s*(?:(?:def|class|import|from|return|if|elif|else|for|while|try|except|finally|with|assert"
    r"|raise|async|pass|del|global|lambda|yield|@\w+)\b|[\w.\[\]]+\s*[-+*/]?=|[\w.]+\()"
)
"""How a line of code begins; a sentence begins otherwise, if only with a capital."""
PROSE_TAGS = frozenset(("markdown", "md"))
OTHER_TAGS = frozenset(
    (
        *("bash", "sh", "shell", "zsh", "fish", "console", "terminal", "shell-session", "cmd"),
        *("bat", "batch", "powershell", "ps1", "dos", "shellsession", "sh-session"),
        *("text", "txt", "plaintext", "plain", "output", "out", "stdout", "stderr", "result"),
        *("results", "log", "logs", "none", "pycon", "python-repl", "pytb", "traceback"),
        *("json", "jsonl", "yaml", "yml", "toml", "ini", "cfg", "xml", "html", "css", "csv"),
        *("diff", "patch", "sql", "mermaid", "dot", "latex", "tex", "math", "http", "makefile"),
        *("dockerfile", "javascript", "js", "typescript", "ts", "jsx", "tsx", "java", "kotlin"),
        *("scala", "c", "cpp", "c++", "cc", "cxx", "h", "hpp", "csharp", "c#", "cs", "go"),
        *("golang", "rust", "rs", "ruby", "rb", "php", "perl", "lua", "r", "julia", "swift"),
        *("haskell", "hs", "ocaml", "elixir", "erlang", "clojure", "lisp", "scheme", "matlab"),
        *("fortran", "asm", "pseudocode", "algorithm"),
    )
)
"""Tags of blocks that are no Python, whatever they hold; one that defines the entry still counts
where no other block does.
"""


class Block(NamedTuple):
    """A block of an answer. `tag` is the first word of its info string, in lower case."""

    tag: str
    code: str
    is_fenced: bool = True

    @property
    def is_likely(self) -> bool:
        """Whether its place and its tag speak for Python."""
        return self.is_fenced and self.tag not in OTHER_TAGS


class _Opening(NamedTuple):
    tag: str
    marks: str
    width: int
    """Columns of its indentation, list markers included; so many go from each line below."""
    quotes: int

    def is_closed_by(self, line: str) -> bool:
        found = FENCE.fullmatch(self.stripped(line, 0))
        return (
            found is not None
            and not found["info"].strip()
            and not found["quote"].strip()
            and not found["indent"].strip()
            and found["marks"][0] == self.marks[0]
            and len(found["marks"]) >= len(self.marks)
            and len(found["indent"].expandtabs(4)) <= self.width + 3
        )

    def stripped(self, line: str, width: int) -> str:
        """`line` without the marks of the quotes and at most `width` blanks."""
        for _ in range(self.quotes):
            line = QUOTE.sub("", line, count=1)
        blanks = len(line) - len(line.lstrip(" "))
        return line[min(width, blanks) :]

    def code(self, lines: list[str]) -> str:
        code = "".join(self.stripped(line, self.width) + "\n" for line in lines)
        if len(code) > PARSED_CAP:
            return code
        whole = textwrap.dedent(code)
        # A whole program may be set in from the fence.
        return whole if whole != code and not is_python(code) and defined_by(whole) else code


def blocks_of(text: str, depth: int = 0, *, is_list: bool = False) -> list[Block]:
    """The blocks of an answer, in order, and the code that stands outside of fences."""
    if len(text) > TEXT_CAP:
        return []
    lines = LINE_END.split(text)
    fences = [number for number, line in enumerate(lines) if "```" in line or "~~~" in line]
    fences = fences[:FENCES_CAP]
    items = (number for number, line in enumerate(lines) if LIST_ITEM.match(line))
    first_item = 0 if is_list else next(items, len(lines))
    found: list[Block] = []
    outside = 0
    for number in fences:
        if number < outside or len(found) >= BLOCKS_CAP:
            continue  # A line of the block before, or one block too many.
        opening = _opening(lines[number], first_item <= number)
        if opening is None:
            continue
        found += _unfenced(lines[outside:number])
        outside, code = _content(
            lines, number + 1, opening, [one for one in fences if one > number]
        )
        if opening.tag in PROSE_TAGS and depth < NESTED_CAP:
            found += blocks_of(code, depth + 1)
        elif code.strip():
            found.append(Block(opening.tag, legible(code)))
    return found + _unfenced(lines[outside:])


def _unfenced(lines: list[str]) -> list[Block]:
    code = plain("\n".join(lines))
    return [Block("", code + "\n", is_fenced=False)] if code.strip() and is_code(code) else []


def _opening(line: str, is_list: bool) -> _Opening | None:
    found = FENCE.fullmatch(line)
    if found is None:
        return None
    quotes = found["quote"].count(">")
    indent = found["indent"].removeprefix(" ") if quotes else found["indent"]
    width = len(indent.expandtabs(4))
    if width > 3 and not is_list:
        return None  # Only in an item of a list is this no indented code.
    word = TAG.match(found["info"])
    tag = word[1].lower() if word else ""
    if tag.endswith(".py") or re.fullmatch(r"(python|py)[\d.]+", tag):
        tag = "python"
    return _Opening(tag, found["marks"], width, quotes)


def _content(lines: list[str], first: int, opening: _Opening, fences: list[int]) -> tuple[int, str]:
    """The line behind a block, and the block's code: `first` is its first line.

    `fences` are the lines that may end it.
    """
    closings = list(islice((one for one in fences if opening.is_closed_by(lines[one])), TRIES))
    if not closings:
        # Its closing is missing where the next block opens, unless that stands in a text of it.
        following = (one for one in fences if (found := _opening(lines[one], True)) and found.tag)
        next_block = next(following, None)
        if next_block is not None and is_code(part := opening.code(lines[first:next_block])):
            return next_block, part
    end = closings[0] if closings else len(lines)
    code = opening.code(lines[first:end])
    if opening.tag in OTHER_TAGS or opening.tag in PROSE_TAGS or is_code(code):
        return end + 1, code
    if any(code.count(marks) % 2 for marks in ('"""', "'''")):
        # The closing stands in a text that is not closed: it is no closing.
        for number in closings[1:]:
            longer = opening.code(lines[first:number])
            if is_code(longer):
                return number + 1, longer
    for number in (one for one in fences if one < end):
        # A closing is missing: another block opens, or the marks stand behind the last code.
        another = _opening(lines[number], True)
        line = lines[number].rstrip()
        if line.strip() == opening.marks and is_code(opening.code(lines[first:number])):
            return number + 1, opening.code(lines[first:number])  # Set in too far for a closing.
        if another is not None and another.tag:
            return number, plain(opening.code(lines[first:number]))
        if line.endswith(opening.marks) and another is None:
            return number + 1, opening.code([*lines[first:number], line[: -len(opening.marks)]])
    return end + 1, code if closings else plain(code)


# ---- answers without a fence --------------------------------------------------------------------


def plain(text: str) -> str:
    """The code in a text without fences: all of it, or the longest run of lines that is Python.

    Such a run begins with a definition or an import, and no broken code follows it: what was
    meant as code is not mended. Without one the text stays as it is.
    """
    if is_code(text) or len(text) > PARSED_CAP:
        return text
    lines = LINE_END.split(text)
    starts = [
        number
        for number, line in enumerate(lines)
        if re.match(r"(?:async\s+def|def|class|import|from|@)\s*\w", line)
    ]
    for start in starts[:TRIES]:
        # Sentences begin at the margin, and no statement of the code does so after them.
        ends = (number for number in range(start + 1, len(lines)) if _is_prose(lines[number]))
        for end in (len(lines), *islice(ends, TRIES)):
            code = "\n".join(lines[start:end])
            words = (line for line in lines[end:] if line.strip() and line.lstrip()[0] != "#")
            next_words = next(words, "")
            if not CODE_LINE.match(next_words) and is_python(code):
                return code + "\n"
    return text


def _is_prose(line: str) -> bool:
    return bool(line) and not line[0].isspace() and not CODE_LINE.match(line)


def is_set_in(code: str) -> bool:
    return code.lstrip("\r\n")[:1].isspace()
