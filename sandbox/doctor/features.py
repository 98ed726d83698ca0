"""What this kernel enforces, found by trying; a remedy per gap.

`probe` starts `sandbox/guest/probe/probe.py` by name in a child with a clean environment and
believes what it finds there, once the answer has the right form. Which tiers are possible follows
from the layers that hold, and from nothing else.
"""

import fcntl
import functools
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sandbox.doctor.remedies import Facts, cause_of
from sandbox.errors import EngineTimeout, EnvironmentFailed
from sandbox.policy.lowering import LAYERS_OF
from sandbox.protocol.plan import LAYERS, Tier

OPTIONAL_LAYERS: Final = ("landlock_scopes", "cgroup")
"""Tried as well, required by no tier: a filter makes up for the first, the meter for the second."""
PROBED: Final = (*LAYERS, *OPTIONAL_LAYERS)
MACHINES: Final = ("x86_64", "aarch64")
"""Architectures whose system calls the guest knows by number."""
TIMEOUT_S: Final = 20.0
"""For all tries together: about 0.15 s on an idle machine."""
ANSWER_CAP_BYTES: Final = 64 * 1024
BOOTSTRAP: Final = (
    "import sys; sys.path.append(sys.argv[1]); from sandbox.guest.probe.probe import main; main()"
)


class Try(BaseModel):
    """What the probe found out about one layer. `call` and `error` are empty when it holds."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    holds: bool
    call: str = Field(max_length=200)
    error: str = Field(max_length=100)
    seen: str = Field(max_length=1000)


class Answers(BaseModel):
    """The line that the probe prints."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    tries: dict[str, Try]
    facts: Facts


class LayerReport(BaseModel):
    """One layer: whether it holds here, what was seen, and what would close the gap."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    layer: str
    holds: bool
    seen: str
    reason: str = ""
    remedy: str = ""


class FeatureReport(BaseModel):
    """Which layers hold on this machine, for this user."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    layers: tuple[LayerReport, ...]
    facts: Facts

    @property
    def tiers(self) -> tuple[Tier, ...]:
        """The tiers that are possible, the strongest first."""
        return tuple(tier for tier in get_args(Tier) if not self.missing_for(tier))

    def layer(self, name: str) -> LayerReport:
        """The report on `name`, one of `PROBED`. Raises KeyError for any other."""
        return {report.layer: report for report in self.layers}[name]

    def missing_for(self, tier: Tier) -> list[LayerReport]:
        """Layers that `tier` needs and that do not hold, in the order of the jail."""
        return self.missing_among(LAYERS_OF[tier])

    def missing_among(self, names: Iterable[str]) -> list[LayerReport]:
        """Those of the layers `names` that do not hold, in the order of the jail."""
        wanted = set(names)
        return [found for found in self.layers if found.layer in wanted and not found.holds]


@functools.cache
def probe() -> FeatureReport:
    """What holds for this process, asked once. Raises EnvironmentFailed or EngineTimeout.

    Takes about 0.2 s the first time; from an event loop, call it in a thread.
    """
    if sys.platform != "linux" or platform.machine() not in MACHINES:
        raise EnvironmentFailed(
            sys.executable,
            f"{sys.platform} on {platform.machine()} has no kernel that the engine knows",
            remedy=f"Use Linux on one of {', '.join(MACHINES)}, in a virtual machine if need be",
        )
    if not sys.executable:
        raise EnvironmentFailed(
            "",
            "sys.executable is empty, so no child can be started",
            remedy="Set sys.executable to a Python interpreter before the first session",
        )
    return judge(ask(command(sys.executable)))


def command(interpreter: str) -> list[str]:
    """The command line of a probe with `interpreter`."""
    packages = str(Path(__file__).resolve().parents[2])
    return [interpreter, "-I", "-S", "-B", "-c", BOOTSTRAP, packages]


def ask(arguments: Sequence[str], *, timeout_s: float = TIMEOUT_S) -> Answers:
    """What the probe started by `arguments` answers. Raises EnvironmentFailed, EngineTimeout."""
    said, complained = _file_of_bounded_size(), _file_of_bounded_size()
    try:
        started = time.monotonic()
        try:
            ended = subprocess.run(
                arguments,
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=complained,
                env={},
                cwd="/",
                timeout=timeout_s,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise EngineTimeout("the feature probe", time.monotonic() - started) from None
        except OSError as error:
            raise EnvironmentFailed(arguments[0], str(error.strerror)) from error
        if ended.returncode != 0:
            lines = _content(complained).decode(errors="replace").strip().splitlines()
            last = lines[-1] if lines else "no message"
            raise EnvironmentFailed(
                arguments[0], f"the feature probe ended with {ended.returncode}: {last}"
            )
        return read(_content(said), interpreter=arguments[0])
    finally:
        os.close(said)
        os.close(complained)


def _file_of_bounded_size() -> int:
    """A file in memory that cannot grow. Unlike a pipe, it makes neither side wait."""
    fd = os.memfd_create("cellblock", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    # The kernel refuses a write by whole pages: a size at the cap would hide that it was passed.
    os.ftruncate(fd, 2 * ANSWER_CAP_BYTES)
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_GROW)
    return fd


def _content(fd: int) -> bytes:
    return os.pread(fd, 2 * ANSWER_CAP_BYTES, 0).rstrip(b"\0")


def read(line: bytes, *, interpreter: str) -> Answers:
    """The answers in what a probe printed. Raises EnvironmentFailed for anything else."""
    problem = f"it is longer than {ANSWER_CAP_BYTES} bytes"
    if len(line) <= ANSWER_CAP_BYTES:
        try:
            answers = Answers.model_validate_json(line)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            place = ".".join(str(part) for part in first["loc"])
            problem = f"{place}: {first['msg']}" if place else first["msg"]
        else:
            if set(answers.tries) == set(PROBED):
                return answers
            odd = ", ".join(sorted(set(answers.tries) ^ set(PROBED)))
            problem = f"layers are missing or unknown: {odd}"
    raise EnvironmentFailed(
        interpreter,
        f"the feature probe gave no valid answer: {problem}",
        remedy="Reinstall the package: its two halves differ",
    )


def judge(answers: Answers) -> FeatureReport:
    """The report on `answers`: for each gap its reason and remedy."""
    reports = []
    for layer in PROBED:
        found = answers.tries[layer]
        report = LayerReport(layer=layer, holds=found.holds, seen=found.seen)
        if not found.holds:
            cause = cause_of(layer, found.call, found.error, answers.facts)
            report = report.model_copy(update={"reason": cause.reason, "remedy": cause.remedy})
        reports.append(report)
    return FeatureReport(layers=tuple(reports), facts=answers.facts)
