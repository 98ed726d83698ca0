"""`cellblock chat` with a model that follows a script, and the real engine."""

import asyncio
import base64
import io
import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from rich.console import Console
from scripted import CALLED, CUT, STOPPED, ScriptedModel, call, say, spent
from serving import TalkModel, directory
from talking import FILES, ONE_CALL, PLOT, POWER, REPAIR, STATE_1, STATE_2, TALKS

from runner.cli import commands
from runner.commands.chat import execute
from runner.commands.options import ChatOptions
from runner.commands.talk import Talk
from runner.errors import RequestError
from runner.events import CallBegan, RoundBegan, TextDelta
from runner.models.port import ModelEvent
from runner.models.replay import Recorder
from runner.models.weights import Shelf
from runner.transcript import Instruction, Question, Turn

SCREEN_LINES = 24
HIDE, SHOW = "\x1b[?25l", "\x1b[?25h"
"""What a terminal does with its cursor around something that moves."""


@pytest.fixture(autouse=True)
def own_surroundings(tmp_path, monkeypatch):
    """No model, config or cache of this machine's user plays a part."""
    for name in ("CELLBLOCK_CONFIG", "CELLBLOCK_MODEL_URL", "CELLBLOCK_MODEL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


async def ask(question: str, model=None, **options) -> int:
    return await execute(
        ChatOptions(question, **options), models=directory(model or TalkModel(TALKS))
    )


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(commands, arguments, prog_name="cellblock")


# ---- what a reader sees -------------------------------------------------------------------------


async def test_thinking_code_output_answer_and_bill_come_in_their_order(capsys):
    assert await ask(ONE_CALL) == 0
    assert capsys.readouterr().out == (
        "thinking\n"
        "I need an exact value, so I will run Python.\n"
        "\n"
        "code\n"
        "123**21\n"
        "\n"
        "output\n"
        f"{POWER}\n"
        "\n"
        "thinking\n"
        "The tool returned the number.\n"
        "\n"
        "answer\n"
        f"123 to the 21st power is {POWER}.\n"
        "\n"
        "793 tokens in, 134 out (60 of them thinking), 1 run of code\n"
    )


async def test_a_failing_snippet_is_shown_with_its_traceback_and_then_the_mended_one(capsys):
    assert await ask(REPAIR) == 0
    said = capsys.readouterr().out
    assert "code\nprint(x + 1)\n\noutput\nTraceback (most recent call last):\n" in said
    assert "NameError: name 'x' is not defined\n" in said
    assert "code\nx = 41\nprint(x + 1)\n\noutput\n42\n" in said
    assert said.endswith("1433 tokens in, 175 out (71 of them thinking), 2 runs of code\n")


async def test_a_picture_is_saved_where_the_user_wants_it(capsys, tmp_path):
    assert await ask(PLOT, images=tmp_path / "new" / "plots") == 0
    saved = tmp_path / "new" / "plots" / "image-1.png"
    assert saved.read_bytes().startswith(b"\x89PNG\r\n")
    said = capsys.readouterr().out
    assert f"[image saved to {saved}]\n" in said
    assert "[file made: /mnt/data/plot.png]\n" in said


async def test_a_picture_without_a_place_goes_to_a_temporary_one(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert await ask(PLOT) == 0
    line = next(line for line in capsys.readouterr().out.splitlines() if "saved to" in line)
    saved = Path(line.removeprefix("[image saved to ").removesuffix("]"))
    assert saved.parent.parent == tmp_path
    assert saved.read_bytes().startswith(b"\x89PNG\r\n")


async def test_silent_code_is_said_to_have_printed_nothing(capsys):
    await ask(STATE_1)
    assert "code\nx = 41\n\noutput\n[nothing was printed]\n" in capsys.readouterr().out


async def test_a_terminal_does_not_obey_what_a_model_or_its_code_writes(capsys):
    turns = [[*call(r"print('\x1b[2J')"), CALLED], [*say("\x1b]0;title\x07 :cat: [b]"), STOPPED]]
    assert await ask("?", ScriptedModel(*turns)) == 0
    said = capsys.readouterr().out
    assert "\x1b" not in said
    assert "output\n\\x1b[2J\n" in said
    assert "answer\n\\x1b]0;title\\x07 :cat: [b]\n" in said


@pytest.mark.parametrize(
    ("turn", "words"),
    [
        ([*say("So it is"), spent(3, 4, 0), CUT], "the model reached its limit of tokens."),
        ([*call("1"), CALLED], "The model still wanted to run code after its last round."),
    ],
)
async def test_no_answer_is_said_and_is_exit_status_1(capsys, tmp_path, turn, words):
    (tmp_path / "c.toml").write_text("[server]\nrounds = 2\n")
    assert await ask("?", ScriptedModel(turn), config=tmp_path / "c.toml") == 1
    assert words in capsys.readouterr().out


def test_a_terminal_is_told_what_is_waited_for_and_then_shows_the_text_alone():
    shown = io.StringIO()
    terminal = {"TERM": "xterm"}
    talk = Talk(
        console=Console(
            file=shown, force_terminal=True, width=60, highlight=False, _environ=terminal
        )
    )
    talk.show(RoundBegan(1))
    talk.show(CallBegan("call_1", "code_interpreter"))
    talk.show(TextDelta("It is "))
    talk.show(TextDelta("42."))
    talk.close()
    waited, _, answered = shown.getvalue().partition("answer")
    assert "the model writes code" in waited
    assert waited.count(HIDE) == waited.count(SHOW) == 1
    assert answered.endswith("\nIt is 42.\n")


# ---- options ------------------------------------------------------------------------------------


async def test_a_file_is_put_and_the_model_is_told_of_it(capsys, tmp_path):
    (tmp_path / "data.csv").write_text("1\n2\n3\n")
    model = TalkModel(TALKS)
    assert await ask(FILES, model, put=(tmp_path / "data.csv",)) == 0
    assert "output\n12\n" in capsys.readouterr().out
    told = model.scripts[FILES].requests[0].entries
    assert told == (
        Instruction(
            text="Files in the current directory, from the user:\n"
            "- data.csv: table, 2 rows, 6 B; columns 1 (int);\n  first rows of 1:\n  2\n  3"
        ),
        Question(text=FILES),
    )


async def test_a_conversation_goes_on_in_its_file_and_the_loss_of_variables_is_told(tmp_path):
    model, file = TalkModel(TALKS), tmp_path / "talk.json"
    assert await ask(STATE_1, model, session=file) == 0
    assert await ask(STATE_2, model, session=file) == 0
    first, second = model.scripts[STATE_2].requests
    asked = [entry.text for entry in first.entries if isinstance(entry, Question)]
    assert asked == [STATE_1, STATE_2]
    ran = second.entries[-1]
    assert isinstance(ran, Turn)
    assert ran.results[0].shown.startswith("The earlier session has ended, and its variables")
    assert "NameError: name 'x' is not defined" in ran.results[0].shown
    assert [path.name for path in tmp_path.iterdir() if path.name != "cache"] == ["talk.json"]
    assert len(json.loads(file.read_text())) == 6


async def test_a_file_that_holds_no_conversation_is_refused_and_left(tmp_path):
    file = tmp_path / "talk.json"
    file.write_text("[1, 2]")
    with pytest.raises(RequestError, match=r"talk.json holds no conversation"):
        await ask(ONE_CALL, session=file)
    assert file.read_text() == "[1, 2]"


async def test_the_model_is_taken_by_name(capsys):
    models = directory(ScriptedModel([*say("one"), STOPPED]))
    other = directory(ScriptedModel([*say("one"), STOPPED]), other=ScriptedModel(two()))
    assert await execute(ChatOptions("?", model="other"), models=other) == 0
    assert "answer\ntwo\n" in capsys.readouterr().out
    with pytest.raises(RequestError, match="The model `other` does not exist"):
        await execute(ChatOptions("?", model="other"), models=models)


def two() -> list[ModelEvent]:
    return [*say("two"), STOPPED]


async def test_json_is_one_object_for_each_event(capsys):
    assert await ask(ONE_CALL, as_json=True) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["event"] for line in lines] == [
        *("thinking", "thinking", "code", "output"),
        *("thinking", "thinking", "answer", "answer", "end"),
    ]
    assert lines[2]["call"]["arguments"] == '{"code": "123**21"}'
    assert lines[3]["result"]["details"]["text"] == POWER
    assert lines[-1] == {
        "event": "end",
        "ending": "answered",
        "usage": {
            "input_tokens": 793,
            "output_tokens": 134,
            "reasoning_tokens": 60,
            "cached_tokens": 0,
        },
        "counts": {"code_interpreter": 1},
        "text": f"123 to the 21st power is {POWER}.",
    }


async def test_a_picture_is_whole_in_the_json(capsys, tmp_path):
    assert await ask(PLOT, as_json=True) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    image = next(line for line in lines if line["event"] == "output")["result"]["details"]["images"]
    head, _, data = image[0].partition(",")
    assert head == "data:image/png;base64"
    assert base64.b64decode(data).startswith(b"\x89PNG\r\n")


# ---- the command --------------------------------------------------------------------------------


def test_the_command_answers_from_a_recording(tmp_path):
    asyncio.run(ask(ONE_CALL, Recorder(TalkModel(TALKS), tmp_path / "talk.jsonl")))
    (tmp_path / "c.toml").write_text('[models.qwen3-max]\nkind = "replay"\npath = "talk.jsonl"\n')
    result = invoke("chat", ONE_CALL, "--config", "c.toml")
    assert result.exit_code == 0
    assert f"answer\n123 to the 21st power is {POWER}.\n" in result.stdout
    other = invoke("chat", "What is 2?", "--config", "c.toml")
    assert other.exit_code == 1
    assert "No exchange of talk.jsonl answers this request. Nearest:" in other.stderr


@pytest.mark.parametrize("command", [("chat", "?"), ("serve",)])
def test_without_a_model_both_ways_are_said_on_one_screen(command):
    result = invoke(*command)
    assert result.exit_code == 3
    assert result.stdout == ""
    assert "cellblock model install" in result.stderr
    assert "CELLBLOCK_MODEL_URL=" in result.stderr
    assert len(result.stderr.splitlines()) <= SCREEN_LINES


@pytest.mark.parametrize("command", [("chat", "?"), ("serve",)])
def test_an_embedded_model_that_is_not_installed_names_the_remedy(tmp_path, command):
    (tmp_path / "c.toml").write_text('[models.small]\nkind = "embedded"\n')
    result = invoke(*command, "--config", "c.toml")
    assert result.exit_code == 2
    assert result.stderr == (
        "cellblock: models.small.kind: the embedded model is not installed."
        " Run: cellblock model install.\n"
    )


def test_an_endpoint_in_the_environment_is_used_in_place_of_any_other(monkeypatch):
    monkeypatch.setenv("CELLBLOCK_MODEL_URL", "http://127.0.0.1:9/v1")
    result = invoke("chat", "?")
    assert result.exit_code == 1
    assert "cellblock: The model's endpoint cannot be reached" in result.stderr
    assert not Shelf().directory.exists()
