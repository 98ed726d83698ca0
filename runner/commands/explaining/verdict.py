"""The verdict on a snippet: one severity and one sentence, from what it tried and what it says.

What was tried decides, read beside what the source shows: a snippet whose download failed never
came to run it. The verdict says what was seen; that a snippet is harmless it never says.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal, NamedTuple

from sandbox import Attempt, LimitExceeded, Outcome, Refused, Verdict

Severity = Literal["note", "warning", "danger"]
ORDER: tuple[Severity, ...] = ("note", "warning", "danger")
CREDENTIALS = re.compile(
    r"/\.ssh\b|\bid_(rsa|ed25519|ecdsa)\b|/\.aws\b|/\.netrc\b|/\.pgpass\b|/\.kube\b"
    r"|/\.docker/config|/\.git-credentials|/\.gnupg\b|^/etc/(shadow|sudoers)|/\.npmrc\b|/\.pypirc\b"
    r"|/\.config/gcloud|Login Data|cookies\.sqlite|wallet\.dat|keychain|/run/secrets/",
    re.IGNORECASE,
)
METADATA = ("169.254.169.254", "metadata.google.internal", "fd00:ec2::254")
SHELL_FETCH = re.compile(
    r"\b(curl|wget)\b.*(\||&&|;|-o|-O).*\b(ba|z|da)?sh\b|\b(curl|wget)\b.*\|\s*\w*(sh|python[\d.]*)\b"
    r"|/dev/tcp/|\bnc\b.*\s-e\b",
    re.IGNORECASE | re.DOTALL,
)
FETCHERS = re.compile(r"\b(curl|wget)\b[^|;&]*?\b((?:https?|ftp)://\S+)", re.IGNORECASE)
SCRIPT = re.compile(r"\.(sh|py|pl|rb|ps1|exe|bin|elf|so)\b", re.IGNORECASE)
REACHING = ("connect", "request", "resolve", "send")
READING = ("read", "list")
CHANGING = ("write", "remove", "make", "rename", "mode", "link")
ESCAPES = {  # action of a refused call: severity, what it is
    "inspect": ("danger", "look into or change another process"),
    "mount": ("danger", "change the mounts of the jail"),
    "namespace": ("danger", "make or enter namespaces of its own"),
    "signal": ("danger", "signal a process that is not its own"),
}
DANGEROUS_CALLS = frozenset(
    (
        *("bpf", "perf_event_open", "userfaultfd", "keyctl", "add_key", "request_key"),
        *("init_module", "finit_module", "kexec_load", "reboot", "swapon", "io_uring_setup"),
        *("setuid", "setgid", "setresuid", "setresgid", "open_by_handle_at", "mknod", "mknodat"),
        *("personality", "iopl", "ioperm", "modify_ldt", "seccomp"),
    )
)
DANGEROUS_FAMILIES = ("AF_PACKET", "AF_VSOCK", "AF_ALG", "AF_XDP")
LAYER_WORDS = {
    "net_namespace": "the network namespace",
    "mount_namespace": "the mount namespace",
    "landlock": "Landlock",
    "seccomp": "the filter of system calls",
    "network": "the policy's network",
    "import_policy": "the import policy",
}
Findings = Sequence[Sequence[str | int]]


class _Seen(NamedTuple):
    severity: Severity
    reason: str
    weight: int
    """Among equal severities the highest is told."""


def judge(outcome: Outcome, findings: Findings = ()) -> Verdict:
    """Return the verdict on `outcome`; `findings` are those of `check` on the same source."""
    found = list(_all(outcome, findings))
    if not found:
        return Verdict(severity="note", reason=_plain(outcome))
    worst = max(found, key=lambda one: (ORDER.index(one.severity), one.weight))
    return Verdict(severity=worst.severity, reason=worst.reason)


def _plain(outcome: Outcome) -> str:
    refused = len([one for one in outcome.attempts if not one.is_allowed]) or len(outcome.denials)
    if not refused:
        return "tried nothing that was refused, and nothing was found in its source"
    count = "1 thing" if refused == 1 else f"{refused} things"
    return f"was refused {count} that ordinary programs try too"


def _all(outcome: Outcome, findings: Findings) -> Iterator[_Seen]:
    attempts = outcome.attempts
    reached = [one for one in attempts if _is_remote(one)]
    secrets = [one for one in attempts if _is_secret(one)]
    environment = any(one.action == "environment" for one in attempts)
    programs = [one for one in attempts if one.action == "program"]
    yield from _stories(attempts, secrets, environment, programs, findings)
    for one in secrets:
        where = one.arguments.get("path") or one.tried
        yield _Seen("danger", f"tried to read credentials in {where}: {_answer(one)}", 60)
    yield from _calls(attempts)
    for one in reached:
        severity: Severity = "danger" if one.arguments.get("host") in METADATA else "warning"
        answer = _answer_at(one, attempts)
        yield _Seen(severity, f"tried to reach {_place(one)}: {answer}", 40)
    for one in attempts:
        if one.action in CHANGING and not one.is_allowed:
            what = f"tried to {_verb(one.action)} {one.tried}: {_answer(one)}"
            yield _Seen("danger" if one.action == "remove" else "warning", what, 30)
    for denial in outcome.denials:
        if denial.layer == "import_policy" and "-> log" not in denial.rule:
            reason = f"tried to import {denial.tried}: refused by the import policy"
            yield _Seen("warning", reason, 20)
    for one in programs:
        yield _Seen("warning", f"started a program: {one.arguments.get('command', one.tried)}", 15)
    if isinstance(outcome, LimitExceeded):
        severity = "danger" if outcome.limit == "processes" else "warning"
        yield _Seen(severity, f"was stopped at its limit {outcome.limit}", 25)
    if isinstance(outcome, Refused):
        yield _Seen("warning", f"was refused before it ran: {outcome.reason}", 25)
    yield from _read(findings)


def _stories(
    attempts: Sequence[Attempt],
    secrets: Sequence[Attempt],
    environment: bool,
    programs: Sequence[Attempt],
    findings: Findings,
) -> Iterator[_Seen]:
    """What several attempts come to together."""
    reached = [one for one in attempts if _is_remote(one)]
    read_kinds = {str(row[1]) for row in findings if row[2] in ("warning", "danger")}
    reads_all = environment or any(
        row[1] == "credentials" and row[3] == "os.environ" for row in findings
    )
    if reached:
        first = _most_telling(reached)
        what = [
            *(["credentials"] if secrets else []),
            *(["its environment"] if reads_all else []),
        ]
        if what:
            answer = _answer_at(first, attempts)
            reason = f"tried to send {' and '.join(what)} to {_place(first)}: {answer}"
            yield _Seen("danger", reason, 100)
        url = first.arguments.get("url", "")
        if {"process", "obfuscation"} & read_kinds or SCRIPT.search(url):
            answer = _answer_at(first, attempts)
            reason = f"tried to download and run a script from {_place(first)}: {answer}"
            yield _Seen("danger", reason, 90)
    elif secrets and (where := _address_in(findings)):
        first = secrets[0]
        reason = f"tried to read credentials in {first.arguments.get('path', first.tried)},"
        reason = f"{reason} to send them to {where}: {_answer(first)}, so nothing was sent"
        yield _Seen("danger", reason, 95)
    for one in programs:
        command = one.arguments.get("command", "")
        if SHELL_FETCH.search(command):
            url_found = FETCHERS.search(command)
            where = f" from {url_found[2]}" if url_found else ""
            reason = f"tried to download and run a script{where}: its programs have no way out"
            yield _Seen("danger", f"{reason} ({command})", 90)
        elif FETCHERS.search(command):
            reason = f"tried to download with a program: {command}"
            yield _Seen("danger", f"{reason}; it has no way out", 85)


def _address_in(findings: Findings) -> str:
    """The address that the source names, or what it uses to reach one; empty for neither."""
    network = [row for row in findings if row[1] == "network"]
    named = [str(row[3]) for row in network if "://" in str(row[3])]
    used = [str(row[3]) for row in network if row[2] != "note"]
    return (named or used or [""])[0]


def _calls(attempts: Iterable[Attempt]) -> Iterator[_Seen]:
    for one in attempts:
        if one.is_allowed:
            if one.action == "internals":
                yield _Seen("warning", f"reached into the interpreter: {one.tried}", 10)
            if one.action == "native" and one.tried.startswith("function "):
                name = one.arguments.get("function", "")
                yield _Seen("warning", f"called native code: {name}", 12)
            continue
        call = one.arguments.get("call", "")
        if one.action in ESCAPES:
            severity, what = ESCAPES[one.action]
            is_severe: Severity = "danger" if severity == "danger" else "warning"
            yield _Seen(is_severe, f"tried to {what} ({one.tried}): {_answer(one)}", 70)
        elif call in DANGEROUS_CALLS or one.arguments.get("family") in DANGEROUS_FAMILIES:
            yield _Seen("danger", f"tried {one.tried}: {_answer(one)}", 65)
        elif one.action == "socket" and one.line:
            yield _Seen("warning", f"tried to make a socket ({one.tried}): {_answer(one)}", 35)


def _read(findings: Findings) -> Iterator[_Seen]:
    for line, _kind, severity, what, reason in findings:
        if severity in ("warning", "danger"):
            level: Severity = "danger" if severity == "danger" else "warning"
            yield _Seen(level, f"line {line} of its source, {what}: {reason}", 5)


def _is_remote(one: Attempt) -> bool:
    host = one.arguments.get("host", "")
    local = host.startswith("127.") or host in ("localhost", "::1", "0.0.0.0", "")
    return one.action in REACHING and not local


def _is_secret(one: Attempt) -> bool:
    path = one.arguments.get("path") or one.arguments.get("pattern") or ""
    return one.action in READING and CREDENTIALS.search(path) is not None


def _most_telling(reached: Sequence[Attempt]) -> Attempt:
    """A request says more than a connection, and that more than a look-up of a name."""
    return min(reached, key=lambda one: ("request", "connect", "send", "resolve").index(one.action))


def _place(one: Attempt) -> str:
    return one.arguments.get("url") or one.arguments.get("host") or one.tried


def _answer(one: Attempt) -> str:
    if one.is_allowed:
        return "allowed" if not one.rule else f"allowed; {one.rule}"
    return f"refused by {LAYER_WORDS.get(one.layer, one.layer)}"


def _answer_at(one: Attempt, attempts: Sequence[Attempt]) -> str:
    """The answer to what was to reach an address, which may have been given up before."""
    is_begun = not one.is_guests_word or any(
        other.action in ("resolve", "connect", "send") for other in attempts
    )
    if one.action == "request" and not one.is_allowed and not is_begun:
        return "given up before any connection, and there is no network to make one"
    return _answer(one)


def _verb(action: str) -> str:
    return {"mode": "change the mode of", "link": "make a link at"}.get(action, action)
