"""Help of every command: within 80 columns, with no sentence cut; and completion by shells."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from runner import __main__ as entry
from runner.cli import commands
from runner.commands.printing.completion import SHELLS

COLUMNS = 80
ELLIPSES = ("[ARGS]...", "FILES...", "ID...")
"""What help means by dots: more of the same."""


def every(command: click.Command, *path: str) -> Iterator[tuple[str, ...]]:
    """The words of `command` and of all below it."""
    yield path
    if isinstance(command, click.Group):
        for name, one in command.commands.items():
            yield from every(one, *path, name)


def shown(*words: str) -> str:
    width: dict[str, Any] = {"terminal_width": COLUMNS, "max_content_width": COLUMNS}
    result = CliRunner().invoke(commands, [*words, "--help"], prog_name="cellblock", **width)
    assert result.exit_code == 0, result.output
    return result.output


@pytest.mark.parametrize("words", list(every(commands)), ids=" ".join)
def test_help_fits_eighty_columns_and_cuts_no_sentence(words: tuple[str, ...]) -> None:
    text = shown(*words)
    assert [line for line in text.splitlines() if len(line) > COLUMNS] == []
    for known in ELLIPSES:
        text = text.replace(known, "")
    assert "..." not in text
    assert "…" not in text


@pytest.mark.parametrize(
    "words",
    [words for words in every(commands) if words[:1] != ("completion",)],
    ids=" ".join,
)
def test_help_says_what_the_command_and_each_option_does(words: tuple[str, ...]) -> None:
    command: click.Command = commands
    for word in words:
        assert isinstance(command, click.Group)
        command = command.commands[word]
    assert command.help
    whole = " ".join(shown(*words).split())
    first = " ".join(command.help.partition("\n\n")[0].split())
    assert first.endswith((".", ":"))
    assert first in whole
    for option in command.params:
        if isinstance(option, click.Option):
            assert option.help, f"{option.opts} of {words} has no help"
            assert option.help.endswith("."), option.help
            assert " ".join(option.help.split()) in whole
    if isinstance(command, click.Group):
        for one in command.commands.values():
            assert one.get_short_help_str(10_000) in whole


def test_a_terminal_of_another_width_is_filled_or_kept_to() -> None:
    narrow = CliRunner().invoke(commands, ["--help"], prog_name="cellblock", terminal_width=60)
    assert max(map(len, narrow.output.splitlines())) <= 60


def cellblock(*arguments: str, **environ: str) -> str:
    return subprocess.run(
        [sys.executable, "-m", "runner", *arguments],
        env={"PATH": "/usr/bin:/bin", **environ},
        check=True,
        capture_output=True,
        text=True,
    ).stdout


@pytest.mark.slow
@pytest.mark.parametrize("shell", SHELLS)
def test_a_shell_takes_the_script_and_asks_for_words(shell: str) -> None:
    program = shutil.which(shell)
    if program is None:
        pytest.skip(f"needs {shell}: apt-get install {shell}")
    script = cellblock("completion", shell)
    subprocess.run([program, "-n"], input=script, text=True, check=True)
    words = "cellblock run --ti"
    if shell == "fish":
        asked = {"COMP_WORDS": words, "COMP_CWORD": "--ti"}
    else:
        asked = {"COMP_WORDS": words, "COMP_CWORD": "2"}
    told = cellblock(**asked, _CELLBLOCK_COMPLETE=f"{shell}_complete")
    assert "--timeout" in told
    assert "--memory" not in told


@pytest.mark.slow
def test_bash_completes_commands_by_the_script(tmp_path: Path) -> None:
    bash = shutil.which("bash")
    assert bash is not None
    own = tmp_path / "cellblock"
    own.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m runner "$@"\n')
    own.chmod(0o755)
    lines = [
        "source <(cellblock completion bash)",
        "complete -p cellblock",
        "COMP_WORDS=(cellblock se); COMP_CWORD=1",
        "_cellblock_completion cellblock se cellblock",
        'printf "%s\\n" "${COMPREPLY[@]}"',
    ]
    said = subprocess.run(
        [bash, "-c", "\n".join(lines)],
        env={"PATH": f"{tmp_path}:/usr/bin:/bin"},
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    assert "-F _cellblock_completion cellblock" in said
    assert said.split("\n")[-3:-1] == ["serve", "sessions"]


def test_an_interrupt_while_the_command_line_loads_ends_it_quietly(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Interrupted:
        def find_spec(self, name: str, *_more: object) -> None:
            if name == "runner.cli":
                raise KeyboardInterrupt

    monkeypatch.delitem(sys.modules, "runner.cli", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Interrupted(), *sys.meta_path])
    with pytest.raises(SystemExit) as ended:
        entry.main()
    assert ended.value.code == 130
