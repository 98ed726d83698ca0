"""What the model is told of a run, and what is kept of it."""

import asyncio
import base64

import pytest

from runner.tools.code_interpreter import CodeInterpreter, code_of, images_of
from runner.tools.shown import shorten
from runner.transcript import CodeRun, MadeFile, ToolCall
from sandbox import (
    Artifact,
    Completed,
    Denial,
    Died,
    ErrorInfo,
    LimitExceeded,
    Raised,
    Refused,
    SessionLost,
    StreamCut,
    Truncated,
)

JAIL = {"tier": "namespaces", "layers": ("seccomp",)}
TRACEBACK = "Traceback (most recent call last):\n  ...\nNameError: name 'x' is not defined\n"


class Session:
    def __init__(self, *outcomes):
        self.outcomes = list(outcomes)
        self.ran = []
        self.at_once = self.most_at_once = 0

    async def run(self, code, *, limits=None):
        self.at_once += 1
        self.most_at_once = max(self.at_once, self.most_at_once)
        await asyncio.sleep(0)
        self.at_once -= 1
        self.ran.append(code)
        outcome = self.outcomes.pop(0) if len(self.outcomes) > 1 else self.outcomes[0]
        if isinstance(outcome, Exception):
            raise outcome
        return outcome


class Source:
    container_id = "cntr_7c1e"

    def __init__(self, session, words=""):
        self._session, self._words = session, words

    async def session(self):
        return self._session, self._words

    async def keep(self, session, artifacts):
        return tuple(
            MadeFile(path=one.path, size_bytes=one.size_bytes, mime=one.mime, file_id="cfile_3b")
            for one in artifacts
            if one.change != "deleted"
        )


async def run(*outcomes, words="", arguments='{"code": "x"}', **options):
    tool = CodeInterpreter(Source(Session(*outcomes), words), **options)
    return await tool.run(ToolCall(id="a", name="code_interpreter", arguments=arguments))


async def test_streams_and_echo_are_shown_as_a_notebook_shows_them():
    result = await run(Completed(stdout="one\n", stderr="warned\n", text="42", **JAIL))
    assert result.shown == "one\nstderr:\nwarned\n42"
    assert isinstance(result.details, CodeRun)
    assert result.details.logs == "one\nwarned\n42"
    assert not result.is_error


async def test_files_that_are_not_kept_are_told_once_for_each_reason():
    class Keeping(Source):
        async def keep(self, session, artifacts):
            kept = await super().keep(session, artifacts)
            return tuple(
                one.model_copy(update={"not_kept": "it is large" if number % 2 else ""})
                for number, one in enumerate(kept)
            )

    made = tuple(
        Artifact(path=f"{n}", size_bytes=1, mime="x", sha256=None, change="made") for n in range(50)
    )
    tool = CodeInterpreter(Keeping(Session(Completed(artifacts=made, **JAIL))))
    result = await tool.run(ToolCall(id="a", name="code_interpreter", arguments='{"code": "x"}'))
    written, lost = result.shown.split("\n")
    assert written.endswith("/mnt/data/19 and 30 more]")
    assert lost.startswith("[only until this session ends: /mnt/data/1, /mnt/data/3, ")
    assert lost.endswith("/mnt/data/39 and 5 more: it is large]")


async def test_the_model_is_told_which_files_it_will_find():
    tool = CodeInterpreter(Source(Session()), paths=[f"{n}.csv" for n in range(51)])
    assert tool.spec.description.endswith("49.csv and 1 more.")
    assert "Files that are there" not in CodeInterpreter(Source(Session())).spec.description


async def test_a_lone_echo_is_the_whole_log():
    result = await run(Completed(text="77269364466549865653073473388030061522211723", **JAIL))
    assert result.details.logs == result.shown == "77269364466549865653073473388030061522211723"


async def test_a_silent_run_says_that_it_was_silent():
    result = await run(Completed(**JAIL), retry_words="Print the result.")
    assert result.shown == "[the code ran and printed nothing]\nPrint the result."
    assert result.details.logs == ""


async def test_a_traceback_is_shown_and_variables_stay_unsaid_when_they_stayed():
    error = ErrorInfo(type="NameError", message="", traceback=TRACEBACK)
    result = await run(Raised(error=error, stdout="before\n", **JAIL))
    assert result.shown == f"before\n{TRACEBACK.rstrip()}"
    assert result.is_error
    assert (result.details.status, result.details.could_not_run) == ("raised", False)


@pytest.mark.parametrize(
    ("outcome", "words"),
    [
        (LimitExceeded(limit="wall_s", allowed=30, observed=30.2, state="rolled_back", **JAIL),
         "Stopped: it ran longer than the 30 s that a call may take. Do less in one call, or use a"
         " faster method. Variables are as they were before this call; files that it wrote stay."),
        (LimitExceeded(limit="memory_bytes", allowed=2**30, observed=2**31, state="lost", **JAIL),
         "Stopped: it used more than 1024 MiB of memory. Work on smaller pieces. All variables of"
         " the session are gone; define what you need again."),
        (Died(exit_code=3, state="lost", files_left=("a.csv",), **JAIL),
         "The Python process exited with status 3. All variables of the session are gone; define"
         " what you need again. Files are still there."),
        (Died(signal="SIGSEGV", state="rolled_back", **JAIL),
         "The Python process was ended by SIGSEGV. Variables are as they were before this call;"
         " files that it wrote stay."),
        (Died(exit_code=3, state="rolled_back", **JAIL),
         "The Python process exited with status 3. Variables are as they were before this call;"
         " files that it wrote stay."),
        (Refused(reason="import of socket is not allowed", line=2, **JAIL),
         "Not run: import of socket is not allowed (line 2). Variables are as the code left them."),
    ],
)  # fmt: skip
async def test_every_other_end_is_told_in_words(outcome, words):
    result = await run(outcome)
    assert result.shown == result.details.notice == result.details.logs == words
    assert result.is_error


async def test_what_was_refused_while_it_ran_is_named_with_its_hint():
    denial = Denial(layer="seccomp", tried="socket()", rule="no network", hint="Use files.")
    result = await run(Completed(text="1", denials=(denial,), **JAIL))
    assert result.shown == "1\nRefused while it ran: socket(). Use files."


async def test_a_session_that_is_lost_is_a_result_that_says_so():
    result = await run(SessionLost("its processes were ended from outside"))
    assert "Its variables are gone" in result.shown
    assert (result.details.status, result.details.could_not_run) == ("failed", True)


async def test_words_of_the_source_come_first():
    result = await run(Completed(text="1", **JAIL), words="This is a new session.")
    assert result.shown == "This is a new session.\n1"


async def test_images_and_files_are_kept_whole_and_told_in_brief():
    png = base64.b64encode(b"\x89PNG").decode()
    outcome = Completed(
        displays=({"image/png": png, "text/plain": "<Figure>"}, {"text/plain": "x"}),
        artifacts=(Artifact(path="plot.png", size_bytes=4, mime="image/png", sha256=None),
                   Artifact(path="old", size_bytes=0, mime="", sha256=None, change="deleted")),
        **JAIL,
    )  # fmt: skip
    result = await run(outcome)
    assert result.details.images == (f"data:image/png;base64,{png}",)
    assert [made.path for made in result.details.files] == ["plot.png"]
    assert result.shown == "[1 image shown to the user]\n[files written: /mnt/data/plot.png]"


def test_a_drawing_is_an_image_too():
    outcome = Completed(displays=({"image/svg+xml": "<svg/>"},), **JAIL)
    assert images_of(outcome) == ("data:image/svg+xml;base64,PHN2Zy8+",)


async def test_long_output_is_shown_by_head_tail_and_counts_and_kept_whole():
    text = "".join(f"line {number}\n" for number in range(5000))
    cut = Truncated(stdout=StreamCut(kept_bytes=len(text), dropped_bytes=77))
    result = await run(Completed(stdout=text, truncated=cut, **JAIL), shown_chars=1000)
    assert result.details.stdout == text
    assert result.shown.startswith("line 0\nline 1\n")
    assert result.shown.endswith("line 4998\nline 4999")
    assert "77 bytes that were not kept; in all" in result.shown
    assert len(result.shown) < 1200


def test_what_fits_is_not_touched():
    assert shorten("short", 1000) == "short"


async def test_calls_at_once_wait_for_each_other():
    session = Session(Completed(text="1", **JAIL))
    tool = CodeInterpreter(Source(session))
    call = ToolCall(id="a", name="code_interpreter", arguments='{"code": "x"}')
    await asyncio.gather(*(tool.run(call) for _ in range(3)))
    assert session.most_at_once == 1


@pytest.mark.parametrize("arguments", ["", "[1]", '{"code": 7}', '{"other": "x"}'])
async def test_arguments_without_code_reach_no_session(arguments):
    result = await run(Completed(**JAIL), arguments=arguments)
    assert result.is_error
    assert result.details.status == "refused"


def test_code_as_a_list_of_lines_is_joined():
    assert code_of('{"code": ["a = 1", "a"]}') == ("a = 1\na", "")
