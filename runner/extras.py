"""Says how to install an optional part, from where this copy came from."""

import json
import shlex
from importlib import metadata
from urllib.parse import unquote, urlsplit

DISTRIBUTION = "cellblock"


def install_command(extra: str) -> str:
    """The command that adds the optional part `extra`.

    A copy that was installed from a checkout names that, for no package index need have it.
    """
    try:
        text = metadata.distribution(DISTRIBUTION).read_text("direct_url.json")
    except metadata.PackageNotFoundError:
        text = None
    if not text:
        return _pip(f"{DISTRIBUTION}[{extra}]")
    told = json.loads(text)  # What pip was given; see PEP 610.
    url = urlsplit(told["url"])
    if url.scheme != "file":
        return _pip(f"{DISTRIBUTION}[{extra}] @ {told['url']}")
    path = f"{unquote(url.path)}[{extra}]"
    is_editable = told.get("dir_info", {}).get("editable", False)
    return _pip("-e", path) if is_editable else _pip(path)


def _pip(*arguments: str) -> str:
    return shlex.join(("pip", "install", *arguments))
