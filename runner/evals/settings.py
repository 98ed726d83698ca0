"""What an evaluation was asked to do; all of it goes into the manifest."""

from pydantic import BaseModel, ConfigDict, Field

MiB = 1024 * 1024
RANDOM_SEED = 20_240_607
"""What `random` and numpy start from, in judges and candidates; the guest's `arena` has it too."""
HASH_SEED = 0
"""What hashes of texts start from, and with them the order of sets."""


class Settings(BaseModel):
    """How samples are run. Two runs with equal settings and files give equal verdicts."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    timeout_s: float = Field(default=3.0, gt=0)
    """CPU seconds of a sample, on a machine of the reference speed."""
    wall_factor: float = Field(default=4.0, ge=1)
    """Wall time allowed, in CPU limits: the backstop for what sleeps or waits."""
    memory_bytes: int = Field(default=2048 * MiB, ge=64 * MiB)
    output_bytes: int = Field(default=16 * MiB, ge=1024)
    jobs: int = Field(default=2, ge=1, le=64)
    preload: tuple[str, ...] = ()
    recheck: bool = True
    """Run again what ended near its limit."""
    speed: float | None = Field(default=None, gt=0)
    """CPU seconds here for one of the reference's; measured if not given."""
