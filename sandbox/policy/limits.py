"""Limits: every number that a run may spend, the unit in the field's name."""

import reprlib
from collections.abc import Mapping
from typing import Annotated, Self

from pydantic import BeforeValidator, Field, model_validator

from sandbox.errors import PolicyError
from sandbox.policy.settings import Settings

KiB = 1024
MiB = 1024 * KiB
GiB = 1024 * MiB

LONGEST_S = 7 * 24 * 3600
MOST_BYTES = 2**50
"""Above what any machine has; small enough that sums of limits stay exact in every format."""

PER_CALL = frozenset({"wall_s", "cpu_s", "grace_s", "memory_bytes", "output_bytes", "kept_bytes"})
"""What one call may change. The others are built into the session's jail when it starts."""


def _number(value: object) -> object:
    """Refuse what pydantic would turn into a number: `True`, `"30"`."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise PolicyError("", f"is {value!r}", "It must be a number")
    return value


Seconds = Annotated[float, BeforeValidator(_number), Field(le=LONGEST_S)]
Size = Annotated[int, BeforeValidator(_number), Field(le=MOST_BYTES)]
Count = Annotated[int, BeforeValidator(_number)]


class Limits(Settings):
    """What a snippet and its session may spend. A field left out keeps its default.

    Given to one call, only the fields that were set replace the policy's: see `merged`.

    Seconds:
        wall_s           from the hand-over of the code to its end
        cpu_s            CPU time of all processes of the snippet together
        grace_s          between the interrupt at a deadline and the kill
    Bytes:
        memory_bytes     memory of the session, its temporary files included
        output_bytes     what may be written and displayed before the snippet is ended
        kept_bytes       of each stream, what is given back; the rest is counted
        workspace_bytes  files of the workspace together, and the longest one
    Counts:
        processes        processes and threads of the snippet at one time
        open_files       descriptors of each process
        workspace_files  files and directories of the workspace
    """

    wall_s: Seconds = Field(default=30.0, gt=0)
    """From the hand-over of the code to its end, the echo and clean-up included."""
    cpu_s: Seconds = Field(default=30.0, gt=0)
    """CPU time of all processes of the snippet together."""
    grace_s: Seconds = Field(default=0.5, ge=0)
    """Between the interrupt at a deadline and the kill; it comes on top of `wall_s`."""
    memory_bytes: Size = Field(default=GiB, ge=16 * MiB)
    """Memory of all processes of the session together, with their temporary files."""
    processes: Count = Field(default=64, ge=1, le=32_768)
    """Processes and threads of the snippet at one time, itself included."""
    open_files: Count = Field(default=256, ge=32, le=1_048_576)
    """Descriptors of each process. The minimum is what an interpreter needs to import."""
    output_bytes: Size = Field(default=64 * MiB, ge=1)
    """What a snippet may write to stdout and stderr in all before it is ended."""
    kept_bytes: Size = Field(default=MiB, ge=0)
    """How much of each stream is given back, head and tail; the rest is counted."""
    workspace_bytes: Size = Field(default=256 * MiB, ge=64 * KiB)
    """All files of the workspace together, and the longest single file."""
    workspace_files: Count = Field(default=10_000, ge=16, le=10_000_000)
    """Files and directories of the workspace."""

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if self.kept_bytes > self.output_bytes:
            if "kept_bytes" in self.model_fields_set:
                raise PolicyError(
                    "kept_bytes",
                    f"{self.kept_bytes} bytes cannot be kept of the {self.output_bytes}"
                    " that output_bytes lets through",
                    "Lower kept_bytes or raise output_bytes",
                )
            # A default gives way to what the caller asked for.
            self.__dict__["kept_bytes"] = self.output_bytes
        return self


def _right_form(given: object) -> str:
    """What to write in place of a table, or of anything else."""
    fields = {}
    if isinstance(given, Mapping):
        fields = {name: given[name] for name in Limits.model_fields if name in given}
    shown = ", ".join(f"{name}={reprlib.repr(value)}" for name, value in fields.items())
    return f"Give Limits({shown or 'wall_s=5'}), from `sandbox`"


def check_limits(given: object) -> None:
    """Raise PolicyError that shows the right form for what is neither Limits nor None."""
    if given is not None and not isinstance(given, Limits):
        raise PolicyError("limits", f"is {reprlib.repr(given)}", _right_form(given))


def merged(base: Limits, override: Limits | None) -> Limits:
    """`base` with the fields that `override` sets: the limits of one call.

    Raises PolicyError when `override` is no Limits, changes what the jail fixed at its start, or
    asks for more memory than it was built for.
    """
    check_limits(override)
    if override is None or not override.model_fields_set:
        return base
    asked = {name: getattr(override, name) for name in override.model_fields_set}
    for name in sorted(asked.keys() - PER_CALL):
        if asked[name] != getattr(base, name):
            raise PolicyError(
                f"limits.{name}",
                f"is {asked[name]} for this call and {getattr(base, name)} in the policy;"
                " it is fixed when the session starts",
                "Set it in Policy(limits=...)",
            )
    if override.memory_bytes > base.memory_bytes and "memory_bytes" in asked:
        raise PolicyError(
            "limits.memory_bytes",
            f"is {override.memory_bytes} for this call; the session was built for"
            f" {base.memory_bytes}, and a call can only lower it",
            "Set it in Policy(limits=...)",
        )
    if override.output_bytes < base.kept_bytes and "kept_bytes" not in asked:
        asked["kept_bytes"] = override.output_bytes
    return base.model_copy(update=asked)
