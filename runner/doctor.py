"""`cellblock doctor`: a feature report as text for a terminal, or as JSON.

Says first whether the default tier is possible, then what was seen of each layer, then for each
gap why it is there and what closes it. A remedy that closes several gaps is printed once.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from sandbox import EnvironmentReport, FeatureReport, LayerReport

TierName = Literal["namespaces", "landlock", "process"]
TIERS: Final[tuple[tuple[TierName, str], ...]] = (  # tier        what it promises
    ("namespaces", "own files, network, processes and users; the default"),
    ("landlock", "paths, signals and system calls confined, no network"),
    ("process", "limits alone, for code that you trust"),
)
MiB: Final = 1024 * 1024
TELLING: Final = (
    *("numpy", "pandas", "matplotlib", "scipy", "scikit-learn", "polars", "pyarrow", "sympy"),
    *("pillow", "requests", "torch"),
)
"""Packages that a short report names, where they are there."""
DEFAULT_TIER: Final = "namespaces"
EXIT_OK: Final = 0
EXIT_NO_ISOLATION: Final = 125
STYLES: Final = {"title": "1", "yes": "32", "no": "31", "spare": "33"}

Paint = Callable[[str, str], str]
"""Text and the name of a style -> text for the terminal."""


def exit_status(report: FeatureReport) -> int:
    """0 when the default tier is possible here, else 125, as of a run that cannot be isolated."""
    return EXIT_OK if DEFAULT_TIER in report.tiers else EXIT_NO_ISOLATION


def to_json(report: FeatureReport, environment: EnvironmentReport | None = None) -> str:
    """The report as one JSON object: the tiers that are possible, layers, facts, packages."""
    found = {"tiers": report.tiers, **report.model_dump(mode="json")}
    if environment is not None:
        found["environment"] = environment.model_dump(mode="json")
    return json.dumps(found)


def render(
    report: FeatureReport,
    environment: EnvironmentReport | None = None,
    *,
    colour: bool = False,
    all_packages: bool = False,
) -> str:
    """The report as text; with escape sequences for colours, and every package, if asked for."""
    paint = _coloured if colour else _plain
    lines = [paint(_verdict(report), "title"), "", *_tiers(report, paint)]
    lines += ["", *_layers(report, paint)]
    gaps = list(_gaps(report))
    if gaps:
        lines += ["", paint("What closes the gaps", "title"), *gaps]
    lines += ["", paint("Machine", "title"), *_machine(report)]
    if environment is not None:
        lines += ["", paint("Sessions have", "title"), *_environment(environment, all_packages)]
    return "".join(line.rstrip() + "\n" for line in lines)


def _plain(text: str, _style: str) -> str:
    return text


def _coloured(text: str, style: str) -> str:
    return f"\x1b[{STYLES[style]}m{text}\x1b[0m"


def _verdict(report: FeatureReport) -> str:
    if DEFAULT_TIER in report.tiers:
        return f"The default tier, {DEFAULT_TIER}, is possible here."
    count = len(report.missing_for(DEFAULT_TIER))
    missing = "1 layer does not hold" if count == 1 else f"{count} layers do not hold"
    instead = f"The strongest possible is {report.tiers[0]}." if report.tiers else "No other is."
    return f"The default tier, {DEFAULT_TIER}, is not possible here: {missing}. {instead}"


def _tiers(report: FeatureReport, paint: Paint) -> Iterator[str]:
    yield paint(f"{'Tier':<17} here   what it promises", "title")
    for tier, promise in TIERS:
        yield f"{tier:<17} {_mark(tier in report.tiers, paint)}    {promise}"


def _layers(report: FeatureReport, paint: Paint) -> Iterator[str]:
    needed = _needed(report)
    yield paint(f"{'Layer':<17} holds  what was seen", "title")
    for found in report.layers:
        style = "no" if found.layer in needed else "spare"
        yield f"{found.layer:<17} {_mark(found.holds, paint, style)}    {_printable(found.seen)}"


def _mark(holds: bool, paint: Paint, style: str = "no") -> str:
    return paint("yes", "yes") if holds else paint("no ", style)


def _gaps(report: FeatureReport) -> Iterator[str]:
    needed = _needed(report)
    by_remedy: dict[tuple[str, str], list[LayerReport]] = {}
    for found in report.layers:
        if not found.holds:
            by_remedy.setdefault((found.reason, found.remedy), []).append(found)
    for (reason, remedy), layers in by_remedy.items():
        names = [found.layer for found in layers]
        note = "" if needed & set(names) else " (no tier needs it)"
        yield f"{', '.join(names)}{note}: {_printable(reason)}"
        yield f"    {_printable(remedy)}"


def _needed(report: FeatureReport) -> set[str]:
    """Layers that do not hold and that some tier needs."""
    return {found.layer for tier, _promise in TIERS for found in report.missing_for(tier)}


def _machine(report: FeatureReport) -> Iterator[str]:
    facts = report.facts
    if facts.host_id_base is None:
        ids = "sessions share the caller's"
    else:
        ids = f"each session has its own, from {facts.host_id_base} on"
    if facts.cgroup_version:
        groups = f"version {facts.cgroup_version}"
    else:
        groups = "none for sessions; the meter watches them"
    for name, value in (
        ("kernel", f"{facts.kernel} on {facts.machine}"),
        ("Python", f"{facts.python}, {facts.interpreter}"),
        ("user", "root" if facts.uid == 0 else f"uid {facts.uid}"),
        ("user ids", ids),
        ("Landlock", f"ABI {facts.landlock_abi}" if facts.landlock_abi else "none"),
        ("cgroups", groups),
        ("container", f"looks like {facts.container}" if facts.container else "no sign of one"),
    ):
        yield f"{name:<17} {_printable(value)}"


def _environment(environment: EnvironmentReport, all_packages: bool = False) -> Iterator[str]:
    """What a session of the default policy has."""
    from sandbox import Policy

    limits = Policy().limits
    known = {name.lower(): f"{name} {version}" for name, version in environment.packages.items()}
    is_short = len(known) <= len(TELLING)
    names = known if all_packages or is_short else [name for name in TELLING if name in known]
    named = [known[name] for name in names]
    more = "" if len(named) == len(known) else ", ...; --packages names all"
    packages = f"{len(known)}{': ' if named else ''}{', '.join(named)}{more}"
    for name, value in (
        ("Python", f"{environment.version}, {environment.interpreter}"),
        ("packages", packages),
        (
            "limits",
            f"{limits.wall_s:g} s, {limits.memory_bytes // MiB} MiB of memory,"
            f" {limits.workspace_bytes // MiB} MiB of files, {limits.processes} processes",
        ),
        ("survives a kill", "variables and files of a session"),
    ):
        yield f"{name:<17} {_printable(value)}"
    if environment.remedy:
        yield (
            f"{'byte code':<17} {environment.uncompiled} packages have none: while a"
            " sandbox is open the engine compiles them for its sessions. For good, and now:"
        )
        yield f"    {_printable(environment.remedy)}"


def _printable(text: str) -> str:
    """`text` with nothing that a terminal would obey."""
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in text
    )
