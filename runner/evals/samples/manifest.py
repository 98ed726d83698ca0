"""The manifest beside the results: what was run, on what, by what rules."""

import json
import os
import platform
from importlib import metadata
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from runner.evals.errors import BadInput, OutputFailed
from runner.evals.samples.files import Source
from runner.evals.settings import HASH_SEED, RANDOM_SEED, Settings


class Manifest(BaseModel):
    """All that two runs must share to be compared, and where they ran."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    suite: str
    suite_file: str
    suite_sha256: str
    samples_file: str
    samples_sha256: str
    samples: int
    settings: Settings
    policy: dict[str, object]
    speed: float = 0.0
    """CPU seconds here for one of the reference machine's; 0 before it was measured."""
    speed_range: tuple[float, float] = (0.0, 0.0)
    """The lowest and the highest speed that was measured during the run."""
    chance: dict[str, object] = {}
    versions: dict[str, str] = {}
    machine: dict[str, object] = {}

    def limit(self) -> str:
        """The limit of a sample, in words."""
        seconds = self.settings.timeout_s
        if self.settings.limits == "reference":
            return f"{seconds:g} s of wall time, the reference harness's rule"
        if not self.speed:
            return f"{seconds:g} s of CPU on the reference machine"
        return f"{seconds * self.speed:.3g} s of CPU ({seconds:g} at a speed of {self.speed:.2f})"

    def require_same(self, other: "Manifest", file: str) -> None:
        """Raise BadInput unless results of `other` may be gone on with."""
        for name in ("suite", "suite_sha256", "samples_sha256"):
            if getattr(self, name) != getattr(other, name):
                raise BadInput(
                    file,
                    f"is {getattr(other, name)!r} there and {getattr(self, name)!r} now",
                    field=name,
                    remedy="These results are of another run; leave --resume out",
                )
        mine, theirs = (one.settings.model_dump() for one in (self, other))
        for name in mine:
            if name not in ("jobs", "speed") and mine[name] != theirs[name]:
                raise BadInput(
                    file,
                    f"is {theirs[name]!r} there and {mine[name]!r} now",
                    field=f"settings.{name}",
                    remedy="Give the same, or leave --resume out",
                )


def describe(
    suite: str,
    data: Source,
    samples: Source,
    count: int,
    settings: Settings,
    policy: dict[str, object],
) -> Manifest:
    """The manifest of a run that is about to start."""
    return Manifest(
        suite=suite,
        suite_file=Path(data.path).name,
        suite_sha256=data.sha256,
        samples_file=Path(samples.path).name,
        samples_sha256=samples.sha256,
        samples=count,
        settings=settings,
        policy=policy,
        chance={"random": RANDOM_SEED, "numpy": RANDOM_SEED, "hashes": HASH_SEED},
        versions={
            "cellblock": _version("cellblock"),
            "python": platform.python_version(),
            "kernel": platform.release(),
        },
        machine={
            "processors": len(os.sched_getaffinity(0)),
            "architecture": platform.machine(),
        },
    )


def path_beside(out: Path) -> Path:
    """Where the manifest of the results `out` is."""
    return out.with_name(out.name + ".manifest.json")


def write(manifest: Manifest, out: Path) -> None:
    """Put the manifest beside `out`. Raises OutputFailed."""
    path = path_beside(out)
    new = path.with_name(path.name + ".new")
    try:
        new.write_text(manifest.model_dump_json(indent=2) + "\n", "utf-8")
        new.replace(path)
    except OSError as error:
        raise OutputFailed(str(path), error.strerror or str(error), 0) from error


def read(out: Path) -> Manifest | None:
    """The manifest beside `out`; None if there is none. Raises BadInput."""
    path = path_beside(out)
    if not path.exists():
        return None
    try:
        return Manifest.model_validate(json.loads(path.read_text("utf-8")))
    except (OSError, ValueError, ValidationError) as error:
        raise BadInput(str(path), f"is no manifest: {error}") from error


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"
