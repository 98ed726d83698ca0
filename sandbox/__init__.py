"""Cellblock's engine: jailed sessions of real CPython on the machine that you have.

    from sandbox import Limits, Policy, Sandbox

    with Sandbox(Policy(preload=["pandas"])) as box:
        outcome = box.run("123**21")

Names are resolved on first use, because a zygote imports this package too and must stay small.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sandbox.blocking import Command, Sandbox, Session
    from sandbox.cluster.calls import AsyncPlacedCommand
    from sandbox.cluster.sandbox import AsyncRaySandbox
    from sandbox.cluster.session import AsyncRaySession
    from sandbox.doctor.environment_report import EnvironmentReport, environment_report
    from sandbox.doctor.features import FeatureReport, LayerReport, probe
    from sandbox.engine import AsyncSandbox
    from sandbox.errors import (
        BranchesTooDeep,
        CheckpointDropped,
        CopyRefused,
        EngineTimeout,
        EnvironmentFailed,
        FileIsDirectory,
        FileIsThere,
        FileNotDirectory,
        FileNotPermitted,
        FileNotThere,
        FileRefused,
        GuestFault,
        LayerUnavailable,
        NoRoomForFile,
        NotRemote,
        PackagesNotInstalled,
        PolicyError,
        PoolFull,
        RemoteFailed,
        SandboxError,
        ServerBusy,
        SessionClosed,
        SessionError,
        SessionExpired,
        SessionLost,
        StaleProcess,
        ValueNotCarried,
        ZygoteDied,
    )
    from sandbox.events import (
        ArtifactMade,
        Cleared,
        Displayed,
        Event,
        ExecFinished,
        Finished,
        Started,
        Stderr,
        Stdout,
    )
    from sandbox.files.file_trees import FileStat
    from sandbox.network.secrets import Secret
    from sandbox.outcome import (
        Artifact,
        Attempt,
        Completed,
        Denial,
        Died,
        ErrorInfo,
        ExecResult,
        HostCall,
        LimitExceeded,
        NameChange,
        Outcome,
        Raised,
        Refused,
        StreamCut,
        ToolFailure,
        Truncated,
        Usage,
        Verdict,
        exit_status,
        outcome_from_json,
        outcome_to_json,
    )
    from sandbox.outcome_text import as_on_a_terminal
    from sandbox.packages.environments import (
        create_environment,
        environments,
        find_environment,
        remove_environment,
    )
    from sandbox.packages.store import PackageEnvironment
    from sandbox.policy.comparison import allowed_beyond
    from sandbox.policy.limits import Limits
    from sandbox.policy.policy import ImportPolicy, Mount, Policy
    from sandbox.policy.profiles import PROFILES
    from sandbox.protocol.messages import Checked
    from sandbox.protocol.values import Packed, ValueKind
    from sandbox.remote.command import AsyncRemoteCommand
    from sandbox.remote.relayed_tools import RelayedTool
    from sandbox.remote.sandbox import AsyncRemoteSandbox
    from sandbox.remote.session import AsyncRemoteSession
    from sandbox.session.best_of import BestOf
    from sandbox.session.checkpoints import Checkpoint, CheckpointState
    from sandbox.session.commands.command import AsyncCommand
    from sandbox.session.description import SessionDescription
    from sandbox.session.host_tools import HostTool, ToolError
    from sandbox.session.kept_jails import AsyncKeptJails, KeptJailSession
    from sandbox.session.session import AsyncSession
    from sandbox.session.values import Completion, Inspection, Variable

_NAMES = {  # module: what users may import of it
    "sandbox.blocking": "Command Sandbox Session",
    "sandbox.cluster.calls": "AsyncPlacedCommand",
    "sandbox.cluster.sandbox": "AsyncRaySandbox",
    "sandbox.cluster.session": "AsyncRaySession",
    "sandbox.session.checkpoints": "Checkpoint CheckpointState",
    "sandbox.engine": "AsyncSandbox",
    "sandbox.errors": (
        "BranchesTooDeep CheckpointDropped CopyRefused EngineTimeout EnvironmentFailed"
        " FileIsDirectory FileIsThere FileNotDirectory FileNotPermitted FileNotThere FileRefused"
        " GuestFault LayerUnavailable NoRoomForFile NotRemote PackagesNotInstalled PolicyError"
        " PoolFull RemoteFailed SandboxError ServerBusy SessionClosed SessionError SessionExpired"
        " SessionLost StaleProcess ValueNotCarried ZygoteDied"
    ),
    "sandbox.events": (
        "ArtifactMade Cleared Displayed Event ExecFinished Finished Started Stderr Stdout"
    ),
    "sandbox.doctor.environment_report": "EnvironmentReport environment_report",
    "sandbox.session.description": "SessionDescription",
    "sandbox.doctor.features": "FeatureReport LayerReport probe",
    "sandbox.outcome_text": "as_on_a_terminal",
    "sandbox.policy.limits": "Limits",
    "sandbox.outcome": (
        "Artifact Attempt Completed Denial Died ErrorInfo ExecResult HostCall LimitExceeded"
        " NameChange Outcome Raised Refused StreamCut ToolFailure Truncated Usage Verdict"
        " exit_status outcome_from_json outcome_to_json"
    ),
    "sandbox.files.file_trees": "FileStat",
    "sandbox.network.secrets": "Secret",
    "sandbox.packages.environments": (
        "create_environment environments find_environment remove_environment"
    ),
    "sandbox.packages.store": "PackageEnvironment",
    "sandbox.policy.comparison": "allowed_beyond",
    "sandbox.policy.policy": "ImportPolicy Mount Policy",
    "sandbox.policy.profiles": "PROFILES",
    "sandbox.protocol.messages": "Checked",
    "sandbox.protocol.values": "Packed ValueKind",
    "sandbox.remote.command": "AsyncRemoteCommand",
    "sandbox.remote.sandbox": "AsyncRemoteSandbox",
    "sandbox.remote.session": "AsyncRemoteSession",
    "sandbox.session.best_of": "BestOf",
    "sandbox.session.commands.command": "AsyncCommand",
    "sandbox.session.host_tools": "HostTool ToolError",
    "sandbox.session.kept_jails": "AsyncKeptJails KeptJailSession",
    "sandbox.remote.relayed_tools": "RelayedTool",
    "sandbox.session.session": "AsyncSession",
    "sandbox.session.values": "Completion Inspection Variable",
}
_HOMES = {name: home for home, names in _NAMES.items() for name in names.split()}

__all__ = [
    "PROFILES",
    "Artifact",
    "ArtifactMade",
    "AsyncCommand",
    "AsyncKeptJails",
    "AsyncPlacedCommand",
    "AsyncRaySandbox",
    "AsyncRaySession",
    "AsyncRemoteCommand",
    "AsyncRemoteSandbox",
    "AsyncRemoteSession",
    "AsyncSandbox",
    "AsyncSession",
    "Attempt",
    "BestOf",
    "BranchesTooDeep",
    "Checked",
    "Checkpoint",
    "CheckpointDropped",
    "CheckpointState",
    "Cleared",
    "Command",
    "Completed",
    "Completion",
    "CopyRefused",
    "Denial",
    "Died",
    "Displayed",
    "EngineTimeout",
    "EnvironmentFailed",
    "EnvironmentReport",
    "ErrorInfo",
    "Event",
    "ExecFinished",
    "ExecResult",
    "FeatureReport",
    "FileIsDirectory",
    "FileIsThere",
    "FileNotDirectory",
    "FileNotPermitted",
    "FileNotThere",
    "FileRefused",
    "FileStat",
    "Finished",
    "GuestFault",
    "HostCall",
    "HostTool",
    "ImportPolicy",
    "Inspection",
    "KeptJailSession",
    "LayerReport",
    "LayerUnavailable",
    "LimitExceeded",
    "Limits",
    "Mount",
    "NameChange",
    "NoRoomForFile",
    "NotRemote",
    "Outcome",
    "PackageEnvironment",
    "PackagesNotInstalled",
    "Packed",
    "Policy",
    "PolicyError",
    "PoolFull",
    "Raised",
    "Refused",
    "RelayedTool",
    "RemoteFailed",
    "Sandbox",
    "SandboxError",
    "Secret",
    "ServerBusy",
    "Session",
    "SessionClosed",
    "SessionDescription",
    "SessionError",
    "SessionExpired",
    "SessionLost",
    "StaleProcess",
    "Started",
    "Stderr",
    "Stdout",
    "StreamCut",
    "ToolError",
    "ToolFailure",
    "Truncated",
    "Usage",
    "ValueKind",
    "ValueNotCarried",
    "Variable",
    "Verdict",
    "ZygoteDied",
    "allowed_beyond",
    "as_on_a_terminal",
    "create_environment",
    "environment_report",
    "environments",
    "exit_status",
    "find_environment",
    "outcome_from_json",
    "outcome_to_json",
    "probe",
    "remove_environment",
]


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
