"""What an evaluation was asked to do; all of it goes into the manifest."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

MiB = 1024 * 1024
RANDOM_SEED = 20_240_607
"""What `random` and numpy start from, in judges and candidates; the guest has it as `CHANCE`."""
HASH_SEED = 0
"""What hashes of texts start from, and with them the order of sets."""


class Settings(BaseModel):
    """How samples are run. Two runs with equal settings and files give equal verdicts."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    timeout_s: float = Field(default=3.0, gt=0)
    """Seconds of a sample, by the rule of `limits`."""
    limits: Literal["cpu", "reference"] = "cpu"
    """Of what: CPU seconds on a machine of the reference speed, or wall time here, as the
    reference harnesses count.
    """
    wall_factor: float = Field(default=4.0, ge=1)
    """Wall time allowed, in CPU limits: the backstop for what sleeps or waits."""
    memory_bytes: int = Field(default=2048 * MiB, ge=64 * MiB)
    output_bytes: int = Field(default=16 * MiB, ge=1024)
    jobs: int = Field(default=2, ge=1, le=64)
    tasks: str = ""
    """A pattern of the ids of tasks, as file names have them; empty for all."""
    limit: int | None = Field(default=None, ge=1)
    """Only so many tasks, the first ones of the suite."""
    preload: tuple[str, ...] = ()
    recheck: bool = True
    """Run again what ended near its limit."""
    fresh_jails: bool = False
    """Make all of a jail anew for each run, also what the engine can prove to be untouched."""
    speed: float | None = Field(default=None, gt=0)
    """CPU seconds here for one of the reference's; measured if not given."""
