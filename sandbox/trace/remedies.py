"""Says what a refusal means to a model, and which smallest change of policy would allow it."""

import ipaddress
import json
import posixpath

from sandbox.errors import PolicyError
from sandbox.network.rules import NetworkRules
from sandbox.policy.policy import Mount
from sandbox.protocol.plan import Tier

READING = ("read", "list")
WRITING = ("write", "remove", "make", "rename", "mode", "link")
REACHING = ("connect", "request", "resolve", "send")
OF_THE_JAIL = ("/tmp/", "/mnt/", "/workspace/", "/dev/", "/proc/")
"""What is there is the session's own: no file of the host has that name."""
DONE = {
    "read": "read",
    "list": "listed",
    "write": "written",
    "remove": "removed",
    "make": "made",
    "rename": "renamed",
    "mode": "changed",
    "link": "linked",
}


def allow_with(action: str, arguments: dict[str, str], tier: Tier) -> str:
    """The smallest change of policy that would allow it, as TOML; empty where there is none."""
    if action == "import":
        return f'[[imports.rules]]\npattern = {_text(arguments["module"])}\naction = "allow"'
    if action in READING and "path" in arguments:
        return _mount(arguments["path"], "ro")
    if action in WRITING and "path" in arguments:
        return _mount(posixpath.dirname(arguments["path"]), "rw")
    if action in REACHING and "host" in arguments:
        return _network(arguments["host"], arguments.get("port", "443"), tier)
    return ""


def for_call(action: str, tier: Tier) -> str:
    """The same for a system call: what the filter refuses no policy allows, but for sockets."""
    if tier == "landlock" and action in ("socket", "connect", "bind"):
        return 'tier = "namespaces"'
    return ""


def sentence(action: str, tried: str, rule: str) -> str:
    """What was refused, for a model."""
    why = rule.rstrip(".")
    if action == "import":
        return f"The module {tried} is refused: {why}."
    if action in DONE:
        return f"{tried} was not {DONE[action]}: {why}."
    if action in REACHING:
        return f"{tried} was not reached: {why}."
    return f"{tried} was refused: {why}."


def call_sentence(call: str, code: str, why: str) -> str:
    """The same for a system call."""
    return f"The system call {call} was refused with {code}: {why.rstrip('.')}."


def _mount(path: str, access: str) -> str:
    """A mount of the host's `path`, at the same place or, to be read, below /data."""
    if path.startswith(OF_THE_JAIL):
        return ""
    elsewhere = [f"/data/{posixpath.basename(path)}"] if access == "ro" else []
    for target in (path, *elsewhere):
        try:
            Mount(host=path, target=target)
        except PolicyError:
            continue
        lines = ["[[mounts]]", f"host = {_text(path)}", f"target = {_text(target)}"]
        return "\n".join([*lines, *(['access = "rw"'] if access == "rw" else [])])
    return ""


def _network(host: str, port: str, tier: Tier) -> str:
    place = f"[{host}]" if ":" in host else host
    rule = f"{place}:{port}{'' if _is_public(host) else '!'}"
    try:
        NetworkRules.parse([rule])
    except PolicyError:
        return ""
    weaker = 'tier = "namespaces"\n' if tier == "landlock" else ""
    return f"{weaker}network = [{_text(rule)}]"


def _is_public(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_global
    except ValueError:
        return True


def _text(words: str) -> str:
    """`words` as a TOML string; JSON's escapes are TOML's."""
    return json.dumps(words)
