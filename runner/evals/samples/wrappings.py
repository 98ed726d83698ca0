"""What stands around a program in an answer that is no fence: thoughts, marks, JSON, HTML, prompts,
the signs of a diff, numbers of lines, a word before it.

Each of these is taken off only where the text with it is no program, so that a program keeps what
it holds in its own texts. Pure, and linear in the length of the text.
"""

import ast
import html
import json
import re
import textwrap
import warnings
from collections.abc import Iterator

from runner.evals.samples.python_source import PARSED_CAP, defined_by, is_code

THINKING = r"(?:think|thinking|thought|thoughts|reasoning|seed:think)"
LINE_ENDS = re.compile(r"[ \t]*(?:\r\n|\n|\r|\Z)")
OPENED_THOUGHTS = re.compile(rf"^[ \t]*<({THINKING})>", re.MULTILINE)
END_TOKENS = (
    *("<|im_end|>", "<|endoftext|>", "<|eot_id|>", "<|end|>", "<|end_of_text|>", "<|return|>"),
    *("<|eom_id|>", "</s>", "<end_of_turn>", "<｜end▁of▁sentence｜>"),
)
MARKED = re.compile(
    r"\A\s*\[(BEGIN|PYTHON|CODE|SOLUTION|ANSWER)\][ \t]*\n(.*)\n[ \t]*\[(?:/\1|DONE|END)\]\s*\Z",
    re.DOTALL,
)
LONE_TAG = re.compile(r"\A\s*(?:python3?|py)[ \t]*(?:\r\n|\n|\r)", re.IGNORECASE)
ODD_BLANKS = "\u00a0\u1680\u2000-\u200a\u202f\u205f\u3000"
INVISIBLE = "\ufeff\u200b\u200c\u200d\u2060"
ODD_INDENT = re.compile(rf"^[ \t{ODD_BLANKS}{INVISIBLE}]*[{ODD_BLANKS}{INVISIBLE}]+", re.MULTILINE)
PROMPTS = re.compile(r"(?:>>> ?|\.\.\. ?|In \[\d*\]: ?|[ \t]+\.{3,}: ?)")
MAGIC = re.compile(r"^[%!].*\n?", re.MULTILINE)
HTML_CODE = re.compile(r"<(pre|code)\b[^<>]*>\s*(?:<code\b[^<>]*>)?", re.IGNORECASE)
DIFF_HEAD = re.compile(r"(?:@@|---|\+\+\+|diff |index |\\ No newline)")
NUMBERED = re.compile(r"[ \t]*(\d{1,5})([ \t]*[|:.)│][ ]?|[ \t]{1,4})(.*)")
LED_IN = re.compile(
    r"^[^\S\n]*(?:\*\*)?[A-Z][\w ]{0,30}:(?:\*\*)?[ \t]+"
    r"(?=(?:async[ ]+def|def|class|import|from)[ ]+\w)",
    re.MULTILINE,
)
LINE_BREAK = re.compile(r"<br[ /]{0,3}>\n?", re.IGNORECASE)
INLINE = re.compile(r"(?<!`)(`{1,3})(?!`)(?:(?:python3?|py)[ \t]+)?([^`\n]+?)\1(?!`)")
TEXTS_CAP = 50
"""Texts in one JSON value that are looked at."""


def without_marks(text: str) -> str:
    """`text` without thoughts, the tokens that end a turn, and marks around all of it."""
    text = text.removeprefix("\ufeff")
    behind = _behind_thoughts(text)
    if text[behind:].strip():
        text = text[behind:]
    if len(text) > PARSED_CAP:
        return text
    while (shorter := text.rstrip()).endswith(END_TOKENS):
        token = next(one for one in END_TOKENS if shorter.endswith(one))
        text = shorter.removesuffix(token) + "\n"
    if "<" in text and not is_code(text):
        text = _without_thoughts(text)
    marked = MARKED.match(text)
    if marked is not None:
        return marked[2] + "\n"
    tag = LONE_TAG.match(text)
    return text[tag.end() :] if tag is not None and text[tag.end() :].strip() else text


def legible(code: str) -> str:
    """`code` as Python reads it: ASCII blanks, no prompts of a session, no lines of a notebook.

    A diff is what it makes of the file, and a listing is without its numbers.

    What is Python stays as it is, and what is none without these, too.
    """
    tag = LONE_TAG.match(code)
    if tag is not None and code[tag.end() :].strip():
        code = code[tag.end() :]
    if len(code) > PARSED_CAP or is_code(code):
        return code
    for change in CHANGES:
        changed = change(code)
        if changed != code and is_code(changed) and changed.strip():
            return changed
    return code


def texts_in(value: str) -> Iterator[str]:
    """The texts within `value`, if it is a value of JSON or a literal of Python."""
    if not value.strip().startswith(("{", "[", '"', "'")) or len(value) > PARSED_CAP:
        return
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = _read(value.strip())
    # The words are the model's: what cannot be read is no value.
    except (ValueError, SyntaxError, RecursionError, MemoryError, TypeError):
        return
    waiting, seen = [found], 0
    while waiting and seen < TEXTS_CAP:
        one = waiting.pop()
        seen += 1
        if isinstance(one, str):
            yield one
        elif isinstance(one, dict):
            waiting.extend(reversed(one.values()))
        elif isinstance(one, list | tuple):
            if len(one) > 1 and all(isinstance(line, str) for line in one):
                # The lines of a program, with their ends or without.
                yield "\n".join(line.removesuffix("\n") for line in one) + "\n"
            waiting.extend(reversed(one))


def html_blocks(text: str) -> Iterator[str]:
    """The code in `<pre>` and `<code>` of `text`."""
    folded = text.lower()
    at = 0
    while (found := HTML_CODE.search(text, at)) is not None:
        at = folded.find(f"</{found[1].lower()}>", found.end())
        if at < 0:
            return
        inside = LINE_BREAK.sub("\n", text[found.end() : at].removesuffix("</code>"))
        yield html.unescape(inside).strip("\r\n") + "\n"


def inline_blocks(text: str) -> Iterator[str]:
    """Code that stands in backticks within a line."""
    for found in INLINE.finditer(text):
        yield found[2].strip() + "\n"


def with_line_ends(text: str) -> str:
    """`text` in one line, the line ends and tabs that are written out in it made real."""
    if "\n" in text.strip() or "\\n" not in text:
        return text
    return text.replace("\\n", "\n").replace("\\t", "\t").replace('\\"', '"')


def _behind_thoughts(text: str) -> int:
    """Where a text goes on behind the thoughts that it begins with, opened or not."""
    first = len(text) - len(text.lstrip())
    if text.startswith("<think>", first):
        first += len("<think>")
    limit = text.find("<think>", first)
    end = text.rfind("</think>", first, limit if limit >= 0 else len(text))
    while end >= 0:
        line_end = LINE_ENDS.match(text, end + len("</think>"))
        if line_end is not None:
            return line_end.end()
        end = text.rfind("</think>", first, end)
    return 0


def _without_thoughts(text: str) -> str:
    """`text` without the thoughts that begin a line of it, outside of fences."""
    kept, at = [], 0
    while (found := OPENED_THOUGHTS.search(text, at)) is not None:
        end = text.find(f"</{found[1]}>", found.end())
        if end < 0 or (
            "```" in text[at : found.start()] and _is_in_fence(text[at : found.start()])
        ):
            break
        kept.append(text[at : found.start()])
        at = end + len(found[1]) + 3
    rest = "".join([*kept, text[at:]])
    return rest if rest.strip() else text


def _is_in_fence(before: str) -> bool:
    return sum(line.lstrip().startswith("```") for line in before.splitlines()) % 2 == 1


def _read(value: str) -> object:
    try:
        return json.loads(value, strict=False)
    except ValueError:
        return ast.literal_eval(value)


def _with_ascii_blanks(code: str) -> str:
    def blanks(found: re.Match[str]) -> str:
        indent = re.sub(f"[{INVISIBLE}]", "", found[0])
        return re.sub(
            "\u3000", "  ", re.sub(f"[{ODD_BLANKS.replace(chr(0x3000), '')}]", " ", indent)
        )

    return ODD_INDENT.sub(blanks, code)


def _all_ascii_blanks(code: str) -> str:
    return re.sub(f"[{ODD_BLANKS}]", " ", re.sub(f"[{INVISIBLE}]", "", code))


def _without_prompts(code: str) -> str:
    """What was typed in a session, if that defines anything."""
    lines = [line for line in code.splitlines() if line.strip()]
    if not lines or not PROMPTS.match(lines[0]):
        return code
    prompts = ((PROMPTS.match(line), line) for line in lines)
    typed = "\n".join(line[found.end() :] for found, line in prompts if found is not None) + "\n"
    return typed if defined_by(typed) else code


def _without_magic(code: str) -> str:
    return MAGIC.sub("", code)


def _patched(code: str) -> str:
    """What a diff makes of a file, as far as it shows it."""
    lines = [line for line in code.splitlines() if not DIFF_HEAD.match(line)]
    has_signs = all(not line or line[0] in "+- " for line in lines)
    if not has_signs or not any(line.startswith("+") for line in lines):
        return code
    return "\n".join(line[1:] for line in lines if not line.startswith("-")) + "\n"


def _without_numbers(code: str) -> str:
    """The lines of a listing, whose numbers go up by one."""
    lines = [line for line in code.splitlines() if line.strip()]
    found = [NUMBERED.fullmatch(line) for line in lines]
    first, texts = 0, []
    for at, one in enumerate(found):
        if one is None:
            return code
        first = int(one[1]) if at == 0 else first
        if int(one[1]) != first + at:
            # Blank lines may be without their number.
            first = int(one[1]) - at
            if at and int(one[1]) <= int(found[at - 1][1]):  # type: ignore[index]
                return code
        texts.append(one[3] if one[2].strip() else one[2][1:] + one[3])
    listed = "\n".join(texts) + "\n"
    return textwrap.dedent(listed)


def led_in(text: str) -> str:
    """`text` from where code begins behind a word and a colon in its line."""
    found = LED_IN.search(text)
    return "" if found is None else text[found.end() :]


CHANGES = (
    *(_with_ascii_blanks, _without_prompts, _without_magic, _all_ascii_blanks),
    *(_patched, _without_numbers),
)
