"""What faces say of commands: how they ended, and what is left out of their output."""

import pytest

from runner.faces.shell import ending_of, said_by, shown, status_of
from runner.server.e2b.commands import end_json
from sandbox import ExecResult, StreamCut, Truncated


@pytest.mark.parametrize(
    ("result", "status", "words"),
    [
        (ExecResult(exit_code=0), 0, "exit 0"),
        (ExecResult(exit_code=3), 3, "exit 3"),
        (ExecResult(exit_code=None, signal="SIGTERM"), 143, "exit 143: ended by SIGTERM"),
        (
            ExecResult(exit_code=None, signal="SIGKILL", timed_out=True, limit="wall_s"),
            124,
            "exit 124: ended, for it went over its wall_s",
        ),
        (
            ExecResult(exit_code=None, signal="SIGKILL", limit="output_bytes"),
            137,
            "exit 137: ended, for it went over its output_bytes",
        ),
        (
            ExecResult(exit_code=0, limit="output_bytes"),
            137,
            "exit 137: ended, for it went over its output_bytes",
        ),
        (
            ExecResult(exit_code=2, limit="output_bytes"),
            2,
            "exit 2: ended, for it went over its output_bytes",
        ),
    ],
)
def test_a_command_over_its_limit_is_none_that_ended_well(
    result: ExecResult, status: int, words: str
) -> None:
    assert (status_of(result), ending_of(result)) == (status, words)


def test_e2b_is_told_of_a_limit_that_a_command_met_as_it_ended() -> None:
    told = end_json(ExecResult(exit_code=0, limit="output_bytes"))
    assert told["exitCode"] == -1
    assert told["error"] == "ended by a limit of the server: output_bytes"


@pytest.mark.parametrize("chars", [10, 100, 1000])
def test_text_that_is_cut_says_by_how_much(chars: int) -> None:
    text = "".join(f"{n:05}" for n in range(1000))
    found = shown(text, chars)
    head, told, tail = found.partition("\n[... ")
    count, _, tail = tail.partition(" characters left out ...]\n")
    assert told
    assert text.startswith(head)
    assert text.endswith(tail)
    assert len(head) + int(count) + len(tail) == len(text)
    assert len(found) <= max(chars, 50)
    assert shown(text, len(text)) == text


def test_bytes_that_were_not_kept_are_counted() -> None:
    cut = Truncated(stdout=StreamCut(kept_bytes=3, dropped_bytes=7))
    result = ExecResult(exit_code=0, stdout=b"ab\n", stderr=b"c", truncated=cut)
    assert said_by(result, 100) == "ab\nc\n[7 bytes were left out of the middle of a stream]\n"
    assert said_by(ExecResult(exit_code=0, stdout=b"ab"), 100) == "ab"
