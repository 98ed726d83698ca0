"""The program in a model's answer: its fenced blocks, and which of them is meant.

Fences are read by CommonMark 0.31, section 4.5, where an answer keeps to it. Models damage them
in ways that a Markdown parser has to take at its word (an opening or a closing that is missing,
code behind a closing, bare fences in a docstring), so the lines are read here: of the readings
that are possible, the one counts whose code is Python. Pure: nothing of an answer is run.
"""

import ast
import builtins
import re
import textwrap
import warnings
from collections.abc import Callable, Collection, Iterator
from functools import lru_cache
from itertools import islice
from typing import NamedTuple

from runner.evals.samples.records import Json

FENCE = re.compile(
    r"(?P<quote>(?: {0,3}>){0,9})(?P<indent>[ \t]*(?:(?:[-*+]|\d{1,9}[.)])[ \t]+){0,9})"
    r"(?P<marks>`{3,}(?=[^`]*$)|~{3,})[ \t]*(?P<info>.*)"
)
QUOTE = re.compile(r"\A {0,3}> ?")
LIST_ITEM = re.compile(r"[ \t]*(?:[-*+]|\d{1,9}[.)])[ \t]")
LINE_END = re.compile(r"\r\n|\n|\r")
THOUGHTS = re.compile(
    r"\A\s*(?:<think>)?(?:(?!<think>).)*</think>[ \t]*(?:\r\n|\n|\r|\Z)", re.DOTALL
)
TAG = re.compile(r"\{?[\s.]*([\w.+#-]*)")
NESTED_CAP = 3
TEXT_CAP = 200_000
"""Characters of an answer beyond which it is taken as it is."""
FENCES_CAP = 200
"""Lines that may be fences; those behind them are none."""
BLOCKS_CAP = 50
PARSED_CAP = 50_000
"""Characters of a block beyond which nothing is parsed; the words of it decide then."""
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


Wish = Callable[[Block], bool]


def program_in(text: str, names: Collection[str] = ()) -> str:
    """The program in a model's answer `text`, which should define `names`.

    The last block that defines all of them, or some; without names the last that defines
    anything. An answer without a block is the program, freed of the sentences around it.
    """
    wanted = set(names)
    if wanted:
        wishes: tuple[Wish, ...] = (
            lambda block: wanted <= defined_by(block.code),
            lambda block: bool(wanted & defined_by(block.code)),
        )
    else:
        wishes = (lambda block: _defines_any(block) and not _is_test(block), _defines_any)
    return _program(text, (*wishes, _has_statement, _is_anything))


def script_in(text: str) -> str:
    """The whole program in `text`: the last block that reads standard input, if one does."""
    return _program(text, (_reads_input, _has_statement, _is_anything))


def value_in(text: str) -> str:
    """The literal in `text`: the last block that holds one, of whatever tag; all without one."""
    text = _without_thoughts(text)
    blocks = [block for block in _blocks_of(text) if block.is_fenced]
    for block in reversed(blocks):
        if _is_expression(block.code):
            return block.code.strip()
    return (blocks[-1].code if blocks else text).strip()


def completion_in(text: str, prompt: str, entry: str) -> dict[str, Json]:
    """The fields of a sample for a task whose `prompt` is the beginning of a program.

    The answer is the rest of it, or the whole program; then the prompt's imports and helpers
    stand before it, in case it counts on them.
    """
    text = _without_thoughts(text)
    is_bare = not any(map(FENCE.fullmatch, LINE_END.split(text)))
    code = text if is_bare and entry not in defined_by(text) else program_in(text, (entry,))
    if entry in defined_by(code):
        return {"solution": f"{prompt}\n    pass\n\n{code}"}
    indented = textwrap.indent(textwrap.dedent(code), "    ")
    for body in (code, indented, "    " + code.lstrip()):
        if body.strip() and _is_set_in(body) and _is_python(prompt + body):
            return {"completion": body}
    return {"completion": code}


def names_called(source: str) -> set[str]:
    """Names that a test calls and neither sets nor imports itself, built-in ones aside."""
    tree = _parsed(source)
    if tree is None:
        return set()
    called: set[str] = set()
    own: set[str] = set(dir(builtins))
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            called.add(node.func.id)
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            own.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            own.add(node.id)
        elif isinstance(node, ast.arg):
            own.add(node.arg)
        elif isinstance(node, ast.alias):
            own.add((node.asname or node.name).partition(".")[0])
    return called - own


def defined_by(code: str) -> set[str]:
    """Names that `code` defines on top; by its words where it is no Python of this version."""
    tree = _parsed(code)
    if tree is None:
        return set(
            re.findall(r"^[ \t]*(?:(?:async[ \t]+)?def|class)[ \t]+(\w+)", code, re.MULTILINE)
        )
    found: set[str] = set()
    for node in _top_statements(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Assign):
            found |= {target.id for target in node.targets if isinstance(target, ast.Name)}
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value:
            found.add(node.target.id)
    return found


@lru_cache(maxsize=2048)
def built_in_names(solution: str, test: str) -> tuple[str, ...]:
    """Names of built-in functions that a task asks for: its own solution defines them."""
    tree = _parsed(test)
    if not solution or tree is None:
        return ()
    used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    return tuple(sorted(defined_by(solution) & used & set(dir(builtins))))


# ---- which block --------------------------------------------------------------------------------


def _program(text: str, wishes: tuple[Wish, ...]) -> str:
    text = _without_thoughts(text)
    if _is_code(text):
        return text  # Fences in it are in its texts.
    found = _last(_blocks_of(text), wishes)
    # Set in that far, fences are no fences outside of a list; some models quote so.
    found = found or _last(_blocks_of(text, is_list=True), wishes)
    return _plain(text) if found is None else found.code


def _last(blocks: list[Block], wishes: tuple[Wish, ...]) -> Block | None:
    """The last block for the first wish that one fulfils; whole code before cut code.

    What stands outside of fences, or has another language's tag, counts only if it is Python and
    defines what is wanted.
    """
    able: list[Block]
    for wish in wishes:
        able = [block for block in blocks if block.is_likely and wish(block)]
        if able:
            return ([block for block in able if _is_code(block.code)] or able)[-1]
        if wish is not _has_statement and wish is not _is_anything:
            able = [block for block in blocks if _is_python(block.code) and wish(block)]
            if able:
                return able[-1]
    inside = [block for block in blocks if not block.is_fenced and _is_set_in(block.code)]
    return inside[-1] if inside else None


def _is_set_in(code: str) -> bool:
    return code.lstrip("\r\n")[:1].isspace()


def _defines_any(block: Block) -> bool:
    tree = _parsed(block.code)
    if tree is None:
        return bool(defined_by(block.code))
    kinds = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
    return any(isinstance(node, kinds) for node in _top_statements(tree))


def _is_test(block: Block) -> bool:
    """Whether all that a block defines are tests."""
    return all(name.lower().startswith("test") for name in defined_by(block.code))


def _has_statement(block: Block) -> bool:
    """Whether a block does more than show values, as an example of use does."""
    tree = _parsed(block.code)
    if tree is None:
        return _is_code(block.code)
    return not all(isinstance(node, ast.Expr) for node in tree.body)


def _is_anything(_block: Block) -> bool:
    return True


def _reads_input(block: Block) -> bool:
    return bool(re.search(r"\binput\s*\(|\bstdin\b|\bopen\(\s*0\b|/dev/stdin", block.code))


def _top_statements(tree: ast.Module) -> Iterator[ast.stmt]:
    """Statements of a module, those below an `if` or a `try` included."""
    waiting: list[ast.stmt] = list(reversed(tree.body))
    while waiting:
        node = waiting.pop()
        yield node
        if isinstance(node, ast.If | ast.Try | ast.With):
            waiting.extend(reversed(node.body))
            if not isinstance(node, ast.With):
                waiting.extend(node.orelse)
            for handler in node.handlers if isinstance(node, ast.Try) else ():
                waiting.extend(handler.body)


def _is_python(code: str) -> bool:
    return _parsed(code) is not None


@lru_cache(maxsize=64)
def _parsed(code: str) -> ast.Module | None:
    if len(code) > PARSED_CAP:
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Odd escapes are the model's own affair.
            return ast.parse(code)
    # The text is the model's: too deep or too odd for the parser is as good as wrong.
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _is_expression(code: str) -> bool:
    tree = _parsed(code.strip())
    return tree is not None and len(tree.body) == 1 and isinstance(tree.body[0], ast.Expr)


# ---- which lines are a block --------------------------------------------------------------------


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
        return whole if whole != code and not _is_python(code) and defined_by(whole) else code


def _blocks_of(text: str, depth: int = 0, *, is_list: bool = False) -> list[Block]:
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
            found += _blocks_of(code, depth + 1)
        elif code.strip():
            found.append(Block(opening.tag, code))
    return found + _unfenced(lines[outside:])


def _unfenced(lines: list[str]) -> list[Block]:
    code = _plain("\n".join(lines))
    return [Block("", code + "\n", is_fenced=False)] if code.strip() and _is_code(code) else []


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
        if next_block is not None and _is_code(part := opening.code(lines[first:next_block])):
            return next_block, part
    end = closings[0] if closings else len(lines)
    code = opening.code(lines[first:end])
    if opening.tag in OTHER_TAGS or opening.tag in PROSE_TAGS or _is_code(code):
        return end + 1, code
    if any(code.count(marks) % 2 for marks in ('"""', "'''")):
        # The closing stands in a text that is not closed: it is no closing.
        for number in closings[1:]:
            longer = opening.code(lines[first:number])
            if _is_code(longer):
                return number + 1, longer
    for number in (one for one in fences if one < end):
        # A closing is missing: another block opens, or the marks stand behind the last code.
        another = _opening(lines[number], True)
        line = lines[number].rstrip()
        if another is not None and another.tag:
            return number, _plain(opening.code(lines[first:number]))
        if line.endswith(opening.marks) and another is None:
            return number + 1, opening.code([*lines[first:number], line[: -len(opening.marks)]])
    return end + 1, code if closings else _plain(code)


def _is_code(code: str) -> bool:
    """Whether `code` is a program, or the inside of a function."""
    if len(code) > PARSED_CAP:
        return False
    body = textwrap.indent(textwrap.dedent(code), "    ")
    return _is_python(code) or _is_python(f"def f():\n{body}")


# ---- answers without a fence --------------------------------------------------------------------


def _without_thoughts(text: str) -> str:
    text = text.removeprefix("\ufeff")
    found = THOUGHTS.match(text)
    if found is None or not text[found.end() :].strip():
        return text
    return text[found.end() :]


def _plain(text: str) -> str:
    """The code in a text without fences: all of it, or the longest run of lines that is Python.

    Such a run begins with a definition or an import, and no broken code follows it: what was
    meant as code is not mended. Without one the text stays as it is.
    """
    if _is_code(text) or len(text) > PARSED_CAP:
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
            next_words = next((line for line in lines[end:] if line.strip()), "")
            if not CODE_LINE.match(next_words) and _is_python(code):
                return code + "\n"
    return text


def _is_prose(line: str) -> bool:
    return bool(line) and not line[0].isspace() and not CODE_LINE.match(line)
