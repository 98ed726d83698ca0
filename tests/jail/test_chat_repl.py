"""`cellblock chat` as a conversation: what lasts between questions, commands, and Ctrl-C."""

import asyncio
import json
import os
import pty
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from click.testing import CliRunner
from scripted import CALLED, STOPPED, ScriptedModel, call, say
from serving import TalkModel, directory
from talking import ONE_CALL, PLOT, POWER, SLOW, STATE_1, STATE_2, TALKS

from runner.cli import commands
from runner.commands.chat import converse, execute
from runner.commands.options import ChatOptions
from runner.errors import UpstreamError
from runner.models.replay import Recorder
from runner.transcript import FunctionResult, Instruction, Question, Turn

WITHIN_S = 60.0


@pytest.fixture(autouse=True)
def own_surroundings(tmp_path, monkeypatch):
    """No model, config or cache of this machine's user plays a part."""
    for name in ("CELLBLOCK_CONFIG", "CELLBLOCK_MODEL_URL", "CELLBLOCK_MODEL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    # A shell starts what runs in the background with it ignored.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def talk(monkeypatch):
    """Hold a conversation in which a user types the given lines."""

    def hold(model, lines: Iterable[str | Callable[[], str]], **options) -> int:
        typed = iter(lines)

        def line(_prompt: str = "") -> str:
            try:
                found = next(typed)
            except StopIteration:
                raise EOFError from None
            return found() if callable(found) else found

        monkeypatch.setattr("builtins.input", line)
        return converse(ChatOptions("", **options), models=directory(model))

    return hold


def questions(model: TalkModel, last: str) -> list[str]:
    """Return what the model was asked in all when it first met the question `last`."""
    return [
        entry.text
        for entry in model.scripts[last].requests[0].entries
        if isinstance(entry, Question)
    ]


def interrupted_when(is_true: Callable[[], bool]) -> None:
    """Have Ctrl-C come as soon as `is_true()`."""
    main = threading.main_thread().ident
    assert main is not None

    def wait() -> None:
        deadline = time.monotonic() + WITHIN_S
        while not is_true() and time.monotonic() < deadline:
            time.sleep(0.01)
        signal.pthread_kill(main, signal.SIGINT)

    threading.Thread(target=wait, daemon=True).start()


# ---- what lasts ---------------------------------------------------------------------------------


def test_variables_and_what_was_said_last_from_question_to_question(talk, capsys):
    model = TalkModel(TALKS)
    assert talk(model, [STATE_1, "", STATE_2]) == 0
    assert questions(model, STATE_2) == [STATE_1, STATE_2]
    assert "output\n42\n" in capsys.readouterr().out


def test_a_reset_forgets_both(talk, capsys):
    model = TalkModel(TALKS)
    talk(model, [STATE_1, "/reset", STATE_2])
    assert questions(model, STATE_2) == [STATE_2]
    assert "NameError: name 'x' is not defined" in capsys.readouterr().out


def test_a_question_of_several_lines_is_one(talk):
    model = ScriptedModel([*say("yes"), STOPPED])
    talk(model, ['"""What is', "this?", '"""', "and \\", "that?"])
    asked = [entry.text for entry in model.requests[-1].entries if isinstance(entry, Question)]
    assert asked == ["What is\nthis?", "and \nthat?"]


def test_files_go_both_ways_and_the_model_is_told_of_the_table_once(talk, capsys, tmp_path):
    (tmp_path / "sales.csv").write_text("day,amount\n2024-01-05,3.5\n2024-01-06,4\n")
    model = ScriptedModel(
        [*call("open('out.txt', 'w').write(open('sales.csv').read()[:3])"), CALLED],
        [*say("Done."), STOPPED],
    )
    lines = ["/put sales.csv", "Copy it.", "/files", "/get out.txt", "/get none", "Again."]
    assert talk(model, lines) == 0
    said = capsys.readouterr()
    assert "out.txt\nsales.csv\n" in said.out
    assert "# sales.csv, 39 B, is in the workspace\n" in said.err
    assert "# out.txt, 3 B, is in this directory\n" in said.err
    assert "File 'none' was refused: there is no such file.\n" in said.err
    told = [entry.text for entry in model.requests[-1].entries if isinstance(entry, Instruction)]
    assert told == [
        "Files in the current directory, from the user:\n"
        "- sales.csv: table, 2 rows, 39 B; columns day (date), amount (float);\n"
        "  first rows of day, amount:\n  2024-01-05, 3.5\n  2024-01-06, 4"
    ]
    assert (tmp_path / "out.txt").read_text() == "day"


def test_plots_are_listed_where_they_were_saved(talk, capsys, tmp_path):
    talk(TalkModel(TALKS), ["/plots", PLOT, "/plots"], images=tmp_path / "plots")
    said = capsys.readouterr()
    assert "# no images were shown\n" in said.err
    assert f"\n{tmp_path / 'plots' / 'image-1.png'}\n" in said.out


def test_an_unknown_command_lists_those_that_there_are_and_quit_leaves(talk, capsys):
    model = ScriptedModel([*say("never"), STOPPED])
    assert talk(model, ["/conjure", "/quit", "Never asked."]) == 0
    assert "# /reset" in capsys.readouterr().err
    assert model.requests == []


def test_a_failure_of_the_endpoint_leaves_the_conversation_as_it_was(talk, capsys):
    model = ScriptedModel([UpstreamError("down", "no route")])
    assert talk(model, ["One?", "Two?"]) == 0
    asked = [entry.text for entry in model.requests[-1].entries if isinstance(entry, Question)]
    assert asked == ["Two?"]
    assert "endpoint cannot be reached" in capsys.readouterr().err


# ---- Ctrl-C -------------------------------------------------------------------------------------


def test_an_interrupt_stops_the_snippet_and_the_conversation_goes_on(talk, capsys):
    model = TalkModel(TALKS)

    script = model.scripts[SLOW]

    def slow() -> str:
        interrupted_when(lambda: len(script.requests) == 1 and not script.open)
        return SLOW

    assert talk(model, [STATE_1, slow, STATE_2]) == 0
    entries = model.scripts[STATE_2].requests[0].entries
    stopped = entries[entries.index(Question(text=STATE_2)) - 1]
    assert isinstance(stopped, Turn)
    assert stopped.text.startswith("(The user stopped this")
    assert not any(isinstance(entry, FunctionResult) for entry in entries)
    assert "output\n42\n" in capsys.readouterr().out


def test_an_interrupt_while_the_model_writes_ends_the_stream(talk, capsys):
    held = threading.Event()
    model = Held(held)

    def ask() -> str:
        interrupted_when(held.is_set)
        return "Wait."

    assert talk(model, [ask, "Well?"]) == 0
    assert model.open == 0
    assert "# stopped; the conversation goes on\n" in capsys.readouterr().err
    assert "Well?" in [entry.text for entry in model.asked if isinstance(entry, Question)]


class Held:
    """Answers each question but the first, which it never ends."""

    def __init__(self, begun: threading.Event) -> None:
        self._begun = begun
        self.open = 0
        self.asked: tuple[object, ...] = ()

    async def stream(self, request):
        self.asked = request.entries
        if self._begun.is_set():
            for event in (*say("Well."), STOPPED):
                yield event
            return
        self.open += 1
        try:
            yield say("Some")[0]
            self._begun.set()
            await asyncio.Event().wait()
        finally:
            self.open -= 1

    async def close(self) -> None:
        """Nothing is held."""


# ---- kept conversations -------------------------------------------------------------------------


def test_a_conversation_and_its_files_come_back_and_the_model_is_told_so(talk, tmp_path, capsys):
    file = tmp_path / "talk.json"
    writes = ScriptedModel(
        [*call("import os; os.mkdir('d'); open('d/kept.txt', 'w').write('abc')"), CALLED],
        [*say("Written."), STOPPED],
    )
    talk(writes, ["Write."], session=file)
    assert (tmp_path / "talk.json.files" / "d" / "kept.txt").read_text() == "abc"
    reads = ScriptedModel(
        [*call("print(open('d/kept.txt').read())"), CALLED], [*say("Read."), STOPPED]
    )
    talk(reads, ["Read."], session=file)
    said = capsys.readouterr()
    assert "output\nabc\n" in said.out
    assert "It goes on after 1 question." in said.err
    told = next(entry.text for entry in reads.requests[0].entries if isinstance(entry, Instruction))
    assert told == (
        "The earlier session has ended, and its variables and imports with it; this is a new one."
        " Files that are still there: d/kept.txt."
    )
    assert len(json.loads(file.read_text())) == 7


def test_what_is_too_large_to_keep_is_named(talk, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("runner.commands.talking.kept_talk.BYTES_CAP", 10)
    model = ScriptedModel(
        [*call("open('small', 'w').write('x'); open('vast', 'w').write('x' * 99)"), CALLED],
        [*say("Written."), STOPPED],
    )
    talk(model, ["Write."], session=tmp_path / "talk.json")
    assert "# not kept with the conversation: vast\n" in capsys.readouterr().err
    again = ScriptedModel([*say("Well."), STOPPED])
    talk(again, ["And?"], session=tmp_path / "talk.json")
    told = next(entry.text for entry in again.requests[0].entries if isinstance(entry, Instruction))
    assert told.endswith("Files that are still there: small. Files that are gone: vast.")


# ---- the command --------------------------------------------------------------------------------


def test_a_question_may_come_from_a_pipe(tmp_path):
    (tmp_path / "c.toml").write_text('[models.m]\nkind = "replay"\npath = "none.jsonl"\n')
    (tmp_path / "none.jsonl").write_text("")
    asked = CliRunner().invoke(commands, ["chat", "--config", "c.toml"], input=f"{ONE_CALL}\n")
    assert asked.exit_code == 1
    assert "No exchange of none.jsonl answers this request." in asked.stderr
    silent = CliRunner().invoke(commands, ["chat", "--config", "c.toml"], input="\n")
    assert silent.exit_code == 2
    assert "Name a question" in silent.stderr


@pytest.mark.slow
def test_at_a_terminal_an_interrupt_stops_the_answer_and_not_the_program(tmp_path):
    recorder = Recorder(TalkModel(TALKS), tmp_path / "talk.jsonl")
    asyncio.run(execute(ChatOptions(ONE_CALL), models=directory(recorder)))
    (tmp_path / "c.toml").write_text(
        '[models.qwen3-max]\nkind = "replay"\npath = "talk.jsonl"\npace_s = 0.5\n'
    )
    master, other = pty.openpty()
    begin = "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0);"
    run = f"{begin} os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"
    process = subprocess.Popen(
        [sys.executable, "-c", run, "-m", "runner", "chat", "--config", "c.toml"],
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2]), "TERM": "xterm"},
        stdin=other,
        stdout=other,
        stderr=other,
        start_new_session=True,
    )
    os.close(other)
    try:
        shown = Shown(master)
        shown.until("> ")
        os.write(master, f"{ONE_CALL}\n".encode())
        shown.until("an exact")
        os.write(master, b"\x03")
        shown.until("stopped; the conversation goes on")
        os.write(master, b"/reset\n")
        shown.until("all is forgotten")
        os.write(master, f"{ONE_CALL}\n".encode())
        shown.until(POWER)
        shown.until("run of code")
        shown.until("> ")
        os.write(master, b"\x04")
        assert process.wait(WITHIN_S) == 0
    finally:
        process.kill()
        process.wait()
        os.close(master)


class Shown:
    """What a terminal shows."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._seen = ""

    def until(self, wanted: str) -> None:
        """Read up to and with `wanted`; fail the test if that does not come."""
        deadline = time.monotonic() + WITHIN_S
        while wanted not in self._seen:
            left = deadline - time.monotonic()
            assert left > 0, f"{wanted!r} never came, but {self._seen!r}"
            if select.select([self._fd], [], [], left)[0]:
                self._seen += os.read(self._fd, 65536).decode(errors="replace")
        self._seen = self._seen.partition(wanted)[2]
