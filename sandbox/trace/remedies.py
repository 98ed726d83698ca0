"""Says what a refusal means to a model, and which smallest change of policy would allow it."""

import ipaddress
import json
import posixpath
from collections.abc import Sequence

from sandbox.errors import PolicyError
from sandbox.network.rules import NetworkRules
from sandbox.policy.policy import Mount
from sandbox.policy.presets import PRESETS
from sandbox.protocol.plan import ImportAction, ImportRule, Tier

READING = ("read", "list")
WRITING = ("write", "remove", "make", "rename", "mode", "link")
REACHING = ("connect", "request", "resolve", "send")
OF_THE_JAIL = ("/tmp/", "/mnt/", "/workspace/", "/dev/", "/proc/")
"""What is there is the session's own: no file of the host has that name."""
RULES_SHOWN = 20
"""Import rules of a policy that a change repeats."""
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


def allow_import(module: str, rules: Sequence[ImportRule], default: ImportAction) -> str:
    """The key `imports` of a policy with these rules, `module` allowed beside, as TOML.

    It takes the place of the `imports` that was there. More rules than a table can show are left to
    the reader: the line is then a rule that goes before them.
    """
    rule = f'{{ pattern = {_text(module)}, action = "allow" }}'
    base = f'default = "{default}"'
    for name, preset in PRESETS.items():
        own = len(rules) - len(preset.rules)
        if preset.rules and default == preset.default and tuple(rules[own:]) == preset.rules:
            base, rules = f'preset = "{name}"', rules[:own]
            break
    if len(rules) > RULES_SHOWN:
        return (
            f'[[imports.rules]]  # before the others\npattern = {_text(module)}\naction = "allow"'
        )
    shown = ", ".join([rule, *map(_rule, rules)])
    return f"imports = {{ {base}, rules = [{shown}] }}"


def _rule(rule: ImportRule) -> str:
    texts = {"pattern": rule.pattern, "action": rule.action, "reason": rule.reason}
    if rule.alternative:
        texts["alternative"] = rule.alternative
    return f"{{ {', '.join(f'{key} = {_text(text)}' for key, text in texts.items())} }}"


def allow_with(action: str, arguments: dict[str, str], tier: Tier) -> str:
    """The smallest change of policy that would allow it, as TOML; empty where there is none."""
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
    """`words` as a TOML string; JSON's escapes are TOML's, but for pairs of surrogates and DEL."""
    text = words.encode("utf-8", "replace").decode()
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
