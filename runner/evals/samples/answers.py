"""The program in a model's answer: which of its blocks is meant, and what it needs of the others.

Pure: nothing of an answer is run.
"""

import ast
import re
import textwrap
from collections.abc import Callable, Collection, Iterator

from runner.evals.samples.fences import (
    CODE_LINE,
    FENCE,
    LINE_END,
    Block,
    blocks_of,
    is_set_in,
    plain,
)
from runner.evals.samples.python_source import (
    PARSED_CAP,
    built_in_names,
    defined_by,
    defines_any,
    is_code,
    is_expression,
    is_python,
    is_sketch,
    missing_from,
    names_called,
    parsed,
    returns,
    statements_for,
)
from runner.evals.samples.records import Json
from runner.evals.samples.wrappings import (
    html_blocks,
    inline_blocks,
    led_in,
    legible,
    texts_in,
    with_line_ends,
    without_marks,
)

__all__ = [
    "built_in_names",
    "completion_in",
    "defined_by",
    "names_called",
    "program_in",
    "script_in",
    "value_in",
]
LOOKS = 3
"""Rounds of looking for what the helpers of a program need themselves."""

Wish = Callable[[Block], bool]


def program_in(text: str, names: Collection[str] = (), *, given: Collection[str] = ()) -> str:
    """The program in a model's answer `text`, which should define `names`.

    The last block that defines all of them, or some; without names the last that defines
    anything. What it uses and does not define is taken from the other blocks, but for what is
    `given` anyway. An answer without a block is the program, freed of the sentences around it.
    """
    wanted = set(names)
    if wanted:
        wishes: tuple[Wish, ...] = (
            lambda block: wanted <= defined_by(block.code),
            lambda block: bool(wanted & defined_by(block.code)),
        )
    else:
        wishes = (
            lambda block: defines_any(block.code) and not _is_test(block),
            lambda block: defines_any(block.code),
        )
    return _program(text, wishes, wanted, set(given))


def script_in(text: str) -> str:
    """The whole program in `text`: the last block that reads standard input, if one does."""
    return _program(text, (_reads_input,))


def value_in(text: str) -> str:
    """The literal in `text`: the last block that holds one, of whatever tag; all without one."""
    text = without_marks(text)
    blocks = [block for block in blocks_of(text) if block.is_fenced]
    for block in reversed(blocks):
        if is_expression(block.code):
            return block.code.strip()
    return (blocks[-1].code if blocks else text).strip()


def completion_in(text: str, prompt: str, entry: str) -> dict[str, Json]:
    """The fields of a sample for a task whose `prompt` is the beginning of a program.

    The answer is the rest of it, or the whole program; then the prompt's imports and helpers
    stand before it, in case it counts on them.
    """
    is_bare = not any(map(FENCE.fullmatch, LINE_END.split(text)))
    code = program_in(text, (entry,), given=_names_of(f"{prompt}\n    pass\n"))
    if entry in defined_by(code):
        return {"solution": f"{prompt}\n    pass\n\n{code}"}
    if is_bare:
        code = without_marks(text)
    indented = textwrap.indent(textwrap.dedent(code), "    ")
    for body in (code, indented, "    " + code.lstrip(), *_bodies(code)):
        if body.strip() and is_set_in(body) and is_python(prompt + body):
            return {"completion": body}
    return {"completion": code}


# ---- which block --------------------------------------------------------------------------------


def _program(
    text: str,
    wishes: tuple[Wish, ...],
    wanted: Collection[str] = (),
    given: Collection[str] = (),
) -> str:
    """The program in `text`; `wishes` are what it should be, the strongest first."""
    text = without_marks(text)
    if is_code(text) and not (wanted and is_expression(text)):
        return text  # Fences in it are in its texts.
    readings = [_continued(blocks_of(text))]
    for wish in wishes:
        for blocks in [*readings, *_other_readings(text, readings)]:
            found = _best(blocks, wish)
            if found is not None and is_code(found.code):
                return _with_helpers(found, blocks, set(wanted), set(given))
    if is_code(text):
        return text
    weak = (*wishes, _has_statement, _is_anything)
    for blocks in (readings[0], blocks_of(text, is_list=True)):
        found = _last(blocks, weak)
        if found is not None:
            return _with_helpers(found, blocks, set(wanted), set(given))
    return plain(legible(text))


def _other_readings(text: str, readings: list[list[Block]]) -> Iterator[list[Block]]:
    """Blocks of `text` as other eyes than a Markdown parser's see them; found once."""
    if len(text) > PARSED_CAP:
        return
    if len(readings) == 1:
        # Set in that far, fences are no fences outside of a list; some models quote so.
        readings.append(blocks_of(text, is_list=True))
        readings.append([Block("", legible(code)) for code in html_blocks(text)])
        values = [
            text,
            text[text.find("{") : text.rfind("}") + 1],
            *(block.code for block in readings[0] if block.tag in ("json", "")),
        ]
        carried = (one for value in values for one in texts_in(value))
        readings.append([block for one in carried for block in _carried(one)])
        readings.append(_carried(with_line_ends(text)))
        if _is_prose(text):
            readings.append([Block("", code) for code in inline_blocks(text)])
            readings.append([Block("", code) for code in _set_in_runs(text)])
        readings.append([Block("", plain(code)) for code in (led_in(text),) if code])
        yield from readings[1:]


def _continued(blocks: list[Block]) -> list[Block]:
    """`blocks` with a function and the rest of it, in the block behind, made one.

    The rest is set in and returns something, and what stands before it does not.
    """
    found: list[Block] = []
    for block in blocks:
        before = found[-1] if found else None
        if (
            before is not None
            and (before.is_likely and block.is_likely and is_set_in(block.code))
            and (not returns(before.code) and defines_any(before.code))
            and is_code(joined := before.code + block.code)
            and returns(joined)
        ):
            found[-1] = before._replace(code=joined)
        else:
            found.append(block)
    return found


def _carried(text: str) -> list[Block]:
    """The blocks of a text that was wrapped into another; all of it where it has no fences."""
    text = legible(without_marks(text))
    return [Block("", text)] if is_code(text) else blocks_of(text)


def _is_prose(text: str) -> bool:
    """Whether no line at the margin of `text` begins like code, or opens a fence."""
    lines = LINE_END.split(text)
    return not any(
        FENCE.fullmatch(line) or (line[:1].strip() and CODE_LINE.match(line)) for line in lines
    )


def _set_in_runs(text: str) -> Iterator[str]:
    """Runs of lines that are set in, with the margin taken off."""
    run: list[str] = []
    for line in [*LINE_END.split(text), "."]:
        if not line.strip() or line[0].isspace():
            run.append(line)
            continue
        if any(one.strip() for one in run):
            yield textwrap.dedent("\n".join(run)).strip("\n") + "\n"
        run = []


def _bodies(text: str) -> Iterator[str]:
    """What may be the inside of a function among the sentences of `text`, the last first."""
    if not _is_prose(text) or len(text) > PARSED_CAP:
        return
    for run in reversed([*_set_in_runs(text)]):
        yield textwrap.indent(run, "    ")


def _best(blocks: list[Block], wish: Wish) -> Block | None:
    """The last block for `wish`; whole code before cut code, likely places before others."""
    able = [block for block in blocks if block.is_likely and wish(block)]
    if able:
        whole = [block for block in able if is_code(block.code)]
        # A sketch of what was written before is no program.
        return ([block for block in whole if not is_sketch(block.code)] or whole or able)[-1]
    able = [block for block in blocks if is_python(block.code) and wish(block)]
    return able[-1] if able else None


def _last(blocks: list[Block], wishes: tuple[Wish, ...]) -> Block | None:
    """The last block for the first wish that one fulfils.

    What stands outside of fences, or has another language's tag, counts only if it is Python and
    defines what is wanted.
    """
    for wish in wishes:
        is_weak = wish in (_has_statement, _is_anything)
        found = _best([block for block in blocks if block.is_likely or not is_weak], wish)
        if found is not None:
            return found
    inside = [block for block in blocks if not block.is_fenced and is_set_in(block.code)]
    return inside[-1] if inside else None


def _with_helpers(found: Block, blocks: list[Block], wanted: set[str], given: set[str]) -> str:
    """The code of `found` behind what it needs of the other blocks: definitions and imports."""
    code = found.code
    if len(blocks) == 1 or not is_python(code):
        return code
    at = next(number for number, block in enumerate(blocks) if block is found)
    # The nearest one before it counts, as if all of them were run; else one behind it.
    others = [block for block in [*reversed(blocks[:at]), *blocks[at + 1 :]] if block.tag != "json"]
    for _ in range(LOOKS):
        missing = (missing_from(code) | wanted) - defined_by(code) - given
        parts = []
        for block in others:
            here = missing & _names_of(block.code)
            if here:
                parts.append(statements_for(block.code, here))
                missing -= here
        if not parts:
            break
        code = "\n".join([*reversed(parts), code])
    return code


def _names_of(code: str) -> set[str]:
    """Names that `code` defines or imports on top."""
    tree = parsed(code)
    if tree is None:
        return set()
    imports = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    names = (one.asname or one.name.partition(".")[0] for node in imports for one in node.names)
    return defined_by(code) | set(names)


def _is_test(block: Block) -> bool:
    """Whether all that a block defines are tests."""
    return all(name.lower().startswith("test") for name in defined_by(block.code))


def _has_statement(block: Block) -> bool:
    """Whether a block does more than show values, as an example of use does."""
    tree = parsed(block.code)
    if tree is None:
        return is_code(block.code)
    return not all(isinstance(node, ast.Expr) for node in tree.body)


def _is_anything(_block: Block) -> bool:
    return True


def _reads_input(block: Block) -> bool:
    return bool(re.search(r"\binput\s*\(|\bstdin\b|\bopen\(\s*0\b|/dev/stdin", block.code))
