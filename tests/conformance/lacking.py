"""What faces have no calls for, and why; the rows of what a face lacks are made of these."""

from collections.abc import Iterable, Mapping
from typing import Any

from tests.conformance.checks import CHECKS

TOOLS = (
    "calls_functions_of_its_host",
    "tells_what_a_function_of_the_host_raises",
    "bounds_the_calls_of_a_function",
    "stands_its_clock_still_while_its_host_works",
    "tells_a_snippet_of_a_result_that_is_none",
    "lets_exceptions_of_its_host_be_caught_by_their_types",
    "gathers_more_calls_than_are_carried_out_at_once",
    "refuses_a_function_that_an_earlier_snippet_was_given",
    "asks_for_approval_in_so_many_words",
    "lists_calls_that_its_end_cut_off",
    "shows_defaults_that_json_has_not",
)
VALUES = (
    "carries_values_in_and_out",
    "carries_arrays_and_tables",
    "refuses_values_and_names_that_cannot_travel",
    "carries_plain_values_exactly",
    "carries_odd_arrays_and_tables_or_says_why_not",
)
BRANCHES = (
    "refuses_a_checkpoint_of_another_session",
    "tries_code_and_takes_it_back",
    "goes_on_as_the_best_of_several",
)
PROGRAMS = (
    "talks_with_a_program",
    "kills_a_program_by_a_signal",
    "refuses_a_program_that_is_none",
    "streams_what_a_command_writes",
    "runs_commands_beside_the_interpreter",
    "names_any_signal_that_ends_a_command",
    "tells_how_a_command_ends_as_a_shell_does",
    "refuses_wrong_arguments_of_a_command",
    "passes_a_command_on_as_it_is",
    "keeps_programs_over_rollbacks_and_kills",
    "ends_programs_with_their_session",
)
KNOWLEDGE = (
    "says_what_code_would_need_and_what_it_is_itself",
    "lists_its_variables",
    "answers_about_objects_that_end_the_interpreter",
    "tells_its_layers",
)
EDITOR = (
    "completes_and_judges_code",
    "answers_what_a_name_is",
)
FILES = (
    "names_files_by_any_characters_and_no_others",
    "takes_files_in_and_gives_them_out",
    "tells_why_a_file_is_refused",
    "reaches_files_outside_of_its_workspace",
    "lists_looks_and_removes",
    "streams_long_files_both_ways",
)


ARGUMENTS = ("refuses_wrong_arguments_of_any_call",)


class Lacking(Exception):
    """A face has no call for what a check asks."""


class Told:
    """What a face tells of an end; what it does not tell is Lacking."""

    def __init__(self, **told: Any) -> None:
        self.__dict__.update(told)

    def __getattr__(self, name: str) -> Any:
        raise Lacking(name)


def reasons(*rows: tuple[str, Iterable[str]]) -> Mapping[str, str]:
    """The reason of each check. Fails for a check that is named twice."""
    found: dict[str, str] = {}
    for reason, names in rows:
        for name in names:
            assert name not in found, name
            found[name] = reason
    return found


MCP = reasons(
    ("a call sends no standard input", ("reads_stdin",)),
    (
        "what runs is told as progress, in one line a second, and interrupted by cancelling",
        (
            "streams_events_with_the_outcome_last",
            "is_interrupted_from_outside",
            "interrupts_what_is_left_early",
        ),
    ),
    ("of displays, images alone are sent", ("shows_displays_by_their_types",)),
    ("a limit above the policy's is lowered, not refused", ("refuses_limits_above_its_own",)),
    (
        "files are written, read and listed below /mnt/data",
        (
            "reaches_files_outside_of_its_workspace",
            "lists_looks_and_removes",
            "streams_long_files_both_ways",
            "names_files_by_any_characters_and_no_others",
        ),
    ),
    ("its tools take what their schemas say", ARGUMENTS),
    ("there is no tool that makes a directory", ("tells_why_a_file_is_refused",)),
    (
        "a command is shell text, with output as text and neither input nor variables",
        (*PROGRAMS, "gives_commands_their_directory_and_variables"),
    ),
    ("a value travels as the text of a snippet", VALUES),
    ("an editor asks a kernel", EDITOR),
    ("a model runs code to know it", KNOWLEDGE),
    (
        "checkpoints are told by their labels, and go with the session",
        ("lists_and_drops_checkpoints",),
    ),
    ("there is no tool that forks", (*BRANCHES, "forks_into_sessions_of_their_own")),
    ("a session is kept an hour after its last call", ("lives_as_long_as_it_is_extended",)),
    ("a name that was reset has a fresh session", ("is_closed_once_and_for_all",)),
    ("functions of the host are the client's other tools", TOOLS),
)
E2B = reasons(
    (
        "a text that is a result is shown without its quotes, as E2B's interpreter does",
        ("echoes_the_last_value_and_only_an_expression",),
    ),
    ("a snippet has no standard input", ("reads_stdin",)),
    (
        "a snippet's limits are the policy's; the client's own timeout is an exception of its",
        ("ends_what_takes_too_long_and_goes_on", "refuses_limits_above_its_own"),
    ),
    (
        "an end is told as an error's name and text, without what became of the state",
        ("survives_a_kill_with_its_variables",),
    ),
    (
        "`run_code` calls back with output and results alone, and ends by itself or by its time",
        (
            "streams_events_with_the_outcome_last",
            "is_interrupted_from_outside",
            "interrupts_what_is_left_early",
        ),
    ),
    (
        "a refused file is not found or not valid, without a type for each reason",
        ("tells_why_a_file_is_refused", "names_files_by_any_characters_and_no_others"),
    ),
    ("the size of pieces is the client's", ("streams_long_files_both_ways",)),
    ("its client's own calls check their arguments", ARGUMENTS),
    (
        "a command is shell text and its output text; its end by time is an exception",
        (*PROGRAMS, "ends_a_command_that_takes_too_long"),
    ),
    ("a value travels as the text of a snippet", VALUES),
    ("an editor asks a kernel", EDITOR),
    ("the protocol has no words for it", KNOWLEDGE),
    (
        "snapshots make new sandboxes, and none is rolled back",
        ("rolls_back_to_a_checkpoint", "lists_and_drops_checkpoints", *BRANCHES),
    ),
    ("each sandbox has an end from its start", ("lives_as_long_as_it_is_extended",)),
    ("the protocol has no calls back", TOOLS),
)
E2B_COMMANDS = reasons(
    (
        "the package e2b runs commands, and no snippets",
        [
            name
            for name in dict.fromkeys(
                (*CHECKS, *TOOLS, *PROGRAMS, *VALUES, *ARGUMENTS, *EDITOR, *FILES)
            )
            if name
            not in (
                "lists_looks_and_removes",
                "gives_commands_their_directory_and_variables",
            )
        ],
    ),
)
JUPYTER = reasons(
    (
        "limits are the policy's, and no cell's",
        ("ends_what_takes_too_long_and_goes_on", "refuses_limits_above_its_own"),
    ),
    (
        "an end is told as an error's name and text, without what became of the state",
        ("survives_a_kill_with_its_variables",),
    ),
    (
        "files that a cell made are not told",
        ("streams_events_with_the_outcome_last",),
    ),
    ("the protocol of kernels has no files", FILES),
    ("its client's own calls check their arguments", ARGUMENTS),
    (
        "the protocol of kernels has no commands",
        (
            *PROGRAMS,
            "gives_commands_their_directory_and_variables",
            "ends_a_command_that_takes_too_long",
        ),
    ),
    ("a value travels as the text of a cell", VALUES),
    ("what a name is comes as one text", ("answers_what_a_name_is",)),
    ("the protocol of kernels has no words for it", KNOWLEDGE),
    (
        "the protocol of kernels has no branches",
        (
            "rolls_back_to_a_checkpoint",
            "lists_and_drops_checkpoints",
            "forks_into_sessions_of_their_own",
            *BRANCHES,
        ),
    ),
    ("a client that goes leaves its cell running", ("interrupts_what_is_left_early",)),
    (
        "a kernel lives until it is shut down, and then answers nothing",
        ("lives_as_long_as_it_is_extended", "is_closed_once_and_for_all"),
    ),
    ("the protocol has no calls back but `input`", TOOLS),
)
