"""What a session has, for a reader or a model that is about to use it."""

from pydantic import BaseModel, ConfigDict

from sandbox.doctor.environment_report import environment_report
from sandbox.policy.environment import discover
from sandbox.policy.limits import Limits
from sandbox.policy.policy import Policy
from sandbox.protocol.plan import TEMPORARY, WORKSPACE, Tier

KEPT = "variables and files survive a snippet that is killed"
ROLLED_BACK = "variables survive a snippet that is killed, and files go back with them"
FILES_ONLY = "files survive a snippet that is killed, variables do not"
NAMED = 40


class SessionDescription(BaseModel):
    """Interpreter, packages, limits, layers, places for files, and what survives."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    interpreter: str
    version: str
    packages: dict[str, str]
    preloaded: tuple[str, ...]
    limits: Limits
    tier: Tier
    layers: tuple[str, ...]
    network: tuple[str, ...]
    """Hosts that can be reached; empty for none."""
    workspace: str
    temporary: str
    survives: str

    def for_model(self) -> str:
        """The same in few words."""
        names = ", ".join(list(self.packages)[:NAMED])
        more = len(self.packages) - NAMED
        hosts = ", ".join(self.network) or "none"
        return (
            f"Python {self.version}. Packages: {names}{f' and {more} more' if more > 0 else ''}."
            f" Files: {self.workspace}. Network: {hosts}."
            f" A snippet may take {self.limits.wall_s:g} s and"
            f" {self.limits.memory_bytes // 2**20} MiB; {self.survives}."
        )


def describe(policy: Policy, layers: tuple[str, ...], *, survives: bool) -> SessionDescription:
    """What a session of `policy` with these `layers` has. Reads the environment's directories."""
    found = environment_report(discover(policy.environment))
    kept = ROLLED_BACK if policy.files == "rollback" else KEPT
    return SessionDescription(
        interpreter=found.interpreter,
        version=found.version,
        packages=found.packages,
        preloaded=policy.preload,
        limits=policy.limits,
        tier=policy.tier,
        layers=layers,
        network=() if policy.network == "none" else tuple(policy.network),
        workspace=WORKSPACE,
        temporary=TEMPORARY,
        survives=kept if survives else FILES_ONLY,
    )
