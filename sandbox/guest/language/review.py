"""Flags what a reviewer of untrusted code looks for: network, programs, credentials, disguise.

It reads the tree of a snippet and resolves names through its imports; nothing of it runs. It finds
habits, not intentions, and what is built while the snippet runs escapes it: it never claims that a
snippet is safe. The tables below are all there is to change.
"""

import ast
import re
from collections.abc import Iterator
from typing import NamedTuple

Rows = list[list[str | int]]
SEVERITIES = ("note", "warning", "danger")
FINDINGS_CAP = 500
WHAT_CAP = 200


class Sign(NamedTuple):
    """Calls or names that mean one kind of thing; `names` are dotted, `*` ends a prefix."""

    kind: str
    severity: str
    names: str
    reason: str


class Finding(NamedTuple):
    """One line worth a reader's look."""

    line: int
    kind: str
    severity: str
    what: str
    reason: str


NETWORK_CLIENTS = (
    "requests.* httpx.* aiohttp.* urllib3.* urllib.request.* http.client.* ftplib.* smtplib.*"
    " poplib.* imaplib.* telnetlib.* nntplib.* xmlrpc.client.* websocket.* websockets.*"
    " paramiko.* socket.create_connection socket.socket socket.socketpair asyncio.open_connection"
    " boto3.* pycurl.* dns.* webbrowser.*"
)
CALLS = (
    Sign("network", "warning", NETWORK_CLIENTS, "talks to other machines"),
    Sign("network", "warning", "socket.gethostbyname socket.getaddrinfo", "looks up a host name"),
    Sign("network", "warning", "socketserver.* http.server.* asyncio.start_server", "listens"),
    Sign(
        "process",
        "warning",
        "subprocess.* os.system os.popen os.posix_spawn os.posix_spawnp pty.* pexpect.* sh.*"
        " asyncio.create_subprocess_exec asyncio.create_subprocess_shell commands.getoutput",
        "starts a program",
    ),
    Sign(
        "process",
        "warning",
        "os.execv os.execve os.execl os.execle os.execlp os.execvp os.execvpe os.fork os.forkpty",
        "copies or replaces the process",
    ),
    Sign("process", "warning", "__notebook__.shell __notebook__.capture", "starts a program"),
    Sign("process", "warning", "os.kill os.killpg signal.pthread_kill", "signals processes"),
    Sign("process", "note", "multiprocessing.Process multiprocessing.Pool", "starts processes"),
    Sign("native code", "warning", "ctypes.* cffi.* _ctypes.*", "calls native code by address"),
    Sign("native code", "warning", "mmap.mmap", "maps memory"),
    Sign("files", "warning", "shutil.rmtree os.removedirs", "removes whole directories"),
    Sign("files", "warning", "os.chmod os.chown os.setuid os.setgid os.chroot", "changes rights"),
    Sign("files", "warning", "os.symlink os.link os.mkfifo os.mknod", "makes links or devices"),
    Sign("machine", "note", "platform.* psutil.* os.uname os.getlogin getpass.getuser pwd.*"
         " grp.* resource.*", "looks at the machine"),
    Sign("escape", "danger", "gc.get_objects gc.get_referrers gc.get_referents",
         "looks for objects that it was not given"),
    Sign("escape", "danger", "sys._getframe sys._current_frames inspect.currentframe"
         " inspect.stack", "looks into its callers"),
    Sign("escape", "danger", "types.CodeType types.FunctionType", "makes functions by hand"),
    Sign("escape", "danger", "sys.settrace sys.setprofile sys.addaudithook",
         "watches the interpreter"),
    Sign("packages", "warning", "pip.main pip._internal.* ensurepip.*", "installs packages"),
    Sign("stored code", "warning", "pickle.load pickle.loads dill.* cloudpickle.*"
         " shelve.open yaml.load yaml.unsafe_load", "data may run code when it is read"),
    Sign("persistence", "danger", "crontab.* winreg.*", "arranges to be started again"),
)  # fmt: skip
DECODERS = [  # what undoes a disguise
    "base64.b64decode",
    "base64.b32decode",
    "base64.b16decode",
    "base64.b85decode",
    "base64.a85decode",
    "base64.decodebytes",
    "base64.urlsafe_b64decode",
    "zlib.decompress",
    "gzip.decompress",
    "bz2.decompress",
    "lzma.decompress",
    "codecs.decode",
    "codecs.escape_decode",
    "binascii.unhexlify",
    "binascii.a2b_base64",
    "bytes.fromhex",
    "marshal.loads",
    "bytes.decode",
]
RUNNERS = ("exec", "eval", "compile", "builtins.exec", "builtins.eval", "builtins.compile")
RUNNING_MODULES = ("runpy.run_path", "runpy.run_module", "code.InteractiveInterpreter")
BUILT_INS = ("builtins", "__builtins__")
IMPORTERS = ("__import__", "builtins.__import__", "importlib.import_module")
INTERNALS = frozenset(
    [
        "__subclasses__",
        "__bases__",
        "__base__",
        "__mro__",
        "__globals__",
        "__builtins__",
        "__code__",
        "__closure__",
        "__loader__",
        "__getattribute__",
        "gi_frame",
        "cr_frame",
        "ag_frame",
        "tb_frame",
        "f_back",
        "f_globals",
        "f_locals",
        "f_builtins",
    ]
)
SHOWERS = ("dict", "str", "repr", "list", "print", "json.dumps")
ENVIRONMENT = ("os.environ", "os.environb")
ENVIRONMENT_WHOLE = frozenset(["items", "values", "keys", "copy"])
CREDENTIALS = re.compile(
    r"\.ssh\b|\bid_(rsa|ed25519|ecdsa)\b|\.aws\b|\.netrc\b|\.pgpass\b|\.kube\b|\.docker/config"
    r"|\.git-credentials|\.gnupg\b|/etc/(shadow|passwd|sudoers)|\.npmrc\b|\.pypirc\b|\.env\b"
    r"|\.config/gcloud|Login Data|cookies\.sqlite|wallet\.dat|keychain|/run/secrets\b"
    r"|169\.254\.169\.254|metadata\.google\.internal",
    re.IGNORECASE,
)
SECRET_NAMES = re.compile(r"(SECRET|TOKEN|PASSWORD|PASSWD|API_?KEY|PRIVATE_?KEY|CREDENTIAL)", re.I)
ADDRESS = re.compile(r"\b(?:https?|ftp|wss?)://[^\s'\"<>]{4,}", re.IGNORECASE)
SHELL = re.compile(
    r"\b(curl|wget)\b.*\|\s*(ba|z|da)?sh\b|/dev/tcp/|\bnc\b.*-e\b|\brm\s+-rf?\s+[/~]"
    r"|\bchmod\s+[0-7]*7\d\d\b|\bcrontab\b|\bmkfifo\b.*\bnc\b",
    re.IGNORECASE,
)
SYSTEM_PATH = re.compile(
    r"^(/etc|/proc|/sys|/dev|/root|/boot|/var|/home/(?!user\b)[^/]+|~\w*)(/|$)"
)
WHOLE_TREE = re.compile(r"^(/|/home|/Users|/mnt|/media|/srv|/opt|/usr)/?$")
WALKERS = ("os.walk", "os.fwalk", "os.listdir", "os.scandir", "glob.glob", "glob.iglob")
OTHER_PROCESS = re.compile(
    r"^/proc/(?!self/|thread-self/)[^/]+/(mem|maps|smaps|environ|cmdline|fd|root|cwd|task)\b"
)
HARMLESS_PATH = re.compile(r"^/dev/(null|zero|urandom|random|stdout|stderr|shm(/|$))")
OUT_OF_HERE = re.compile(r"^(\.\./)+(etc|root|home|usr|var|proc|sys|dev|boot|bin|tmp)(/|$)")
FIELD = re.compile(r"\{[^{}]*\.(__\w+__)")
OPENERS = (
    *("open", "io.open", "os.open", "codecs.open", "pathlib.Path", "builtins.open"),
    *("os.walk", "os.listdir", "os.scandir", "glob.glob", "glob.iglob"),
)
MADE_HERE = ("tempfile.mkdtemp", "tempfile.TemporaryDirectory")
PICKLERS = ("pickle.dumps", "dill.dumps", "cloudpickle.dumps")
UNPICKLERS = ("pickle.loads", "dill.loads", "cloudpickle.loads")
READ_BACK = ("pickle.load", "dill.load", "cloudpickle.load")


def review(tree: ast.AST) -> Rows:
    """Rows (line, kind, severity, what, reason) for `tree`, sorted; each thing once a line."""
    found = {
        (one.line, one.kind, one.severity, one.what[:WHAT_CAP], one.reason)
        for one in _Reader(tree).findings()
    }
    return [list(row) for row in sorted(found)[:FINDINGS_CAP]]


class _Reader:
    def __init__(self, tree: ast.AST) -> None:
        self._tree = tree
        self._names: dict[str, str] = {}
        """What a local name stands for, dotted."""
        self._decoded: set[str] = set()
        """Names that hold something decoded."""
        self._environment: set[str] = set()
        self._temporary: set[str] = set()
        """Names that hold a directory which the snippet made for itself."""
        self._written: set[str] = set()
        self._streams: dict[str, str] = {}
        """What the snippet opens to write, and which name reads which file."""
        self._pickled: set[str] = set()
        """Names that hold what the snippet pickled itself."""
        self._has_reducers = False
        for node in ast.walk(tree):
            self._note_names(node)

    def findings(self) -> Iterator[Finding]:
        for node in ast.walk(self._tree):
            if isinstance(node, ast.Call):
                yield from self._call(node)
            elif isinstance(node, ast.Attribute):
                yield from self._attribute(node)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield from self._text(node, node.value)
            elif isinstance(node, ast.Import | ast.ImportFrom):
                yield from self._import(node)
            elif isinstance(node, ast.Name) and node.id == "__builtins__":
                reason = "reaches for the built-ins by another way"
                yield Finding(node.lineno, "obfuscation", "warning", node.id, reason)
            elif isinstance(node, ast.Subscript):
                yield from self._subscript(node)
            elif isinstance(node, ast.BinOp) and (text := _text_of(node)) is not None:
                yield from self._text(node, text)
            elif isinstance(node, ast.JoinedStr):
                yield from _process(node, _template_of(node))

    def _note_files(self, node: ast.AST) -> None:
        """Remember files that the snippet opens, and directories that it makes for itself."""
        pairs: list[tuple[ast.AST | None, ast.AST]] = []
        if isinstance(node, ast.With):
            pairs = [(item.optional_vars, item.context_expr) for item in node.items]
        elif isinstance(node, ast.Assign) and len(node.targets) == 1:
            pairs = [(node.targets[0], node.value)]
        elif isinstance(node, ast.FunctionDef) and node.name.startswith(("__reduce", "__setst")):
            self._has_reducers = True
        for target, value in pairs:
            if not isinstance(target, ast.Name) or not isinstance(value, ast.Call):
                continue
            called = self._dotted(value.func)
            if called in MADE_HERE:
                self._temporary.add(target.id)
            elif called in PICKLERS:
                self._pickled.add(target.id)
            elif called == "open" and len(value.args) == 2:
                path, mode = _text_of(value.args[0]), _text_of(value.args[1]) or ""
                if path is None or not _is_inside(path):
                    continue
                if "w" in mode:
                    self._written.add(path)
                else:
                    self._streams[target.id] = path

    def _is_harmless(self, name: str, node: ast.Call) -> bool:
        """Whether a call that is mostly dangerous is of the snippet's own files alone."""
        if not node.args:
            return False
        first = node.args[0]
        if name == "shutil.rmtree":
            path = _text_of(first)
            is_made = isinstance(first, ast.Name) and first.id in self._temporary
            return is_made or (path is not None and _is_inside(path))
        if self._has_reducers:
            return False
        if name in READ_BACK and isinstance(first, ast.Name):
            return self._streams.get(first.id) in self._written
        if name in UNPICKLERS and isinstance(first, ast.Name):
            return first.id in self._pickled
        is_call = name in UNPICKLERS and isinstance(first, ast.Call)
        return is_call and self._dotted(first.func) in PICKLERS  # type: ignore[attr-defined]

    def _subscript(self, node: ast.Subscript) -> Iterator[Finding]:
        key = _text_of(node.slice)
        table = node.value
        is_vars = isinstance(table, ast.Call) and self._dotted(table.func) in ("vars", "dict")
        inner = table.args[0] if is_vars and table.args else table  # type: ignore[attr-defined]
        name = self._dotted(inner)
        if name.removesuffix(".__dict__") in BUILT_INS:
            what = f"{name}[{key!r}]" if key else f"{name}[...]"
            reason = "a built-in out of a table"
            yield Finding(node.lineno, "obfuscation", "warning", what, reason)
        elif name in ENVIRONMENT and key is not None and SECRET_NAMES.search(key):
            yield Finding(node.lineno, "credentials", "warning", key, "reads a secret")

    def _note_names(self, node: ast.AST) -> None:
        self._note_files(node)
        if isinstance(node, ast.Import):
            for alias in node.names:
                top = alias.name.partition(".")[0]
                self._names[alias.asname or top] = alias.name if alias.asname else top
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for alias in node.names:
                self._names[alias.asname or alias.name] = f"{node.module}.{alias.name}"
        elif isinstance(node, ast.Assign) and len(node.targets) == 1:
            target = node.targets[0]
            if isinstance(target, ast.Name):
                if self._is_decoded(node.value):
                    self._decoded.add(target.id)
                dotted = self._dotted(node.value)
                if dotted and isinstance(node.value, ast.Attribute | ast.Name):
                    self._names.setdefault(target.id, dotted)

    def _dotted(self, node: ast.AST) -> str:
        """The full name of what `node` refers to, imports resolved; empty if that is computed."""
        parts: list[str] = []
        while isinstance(node, ast.Attribute):
            parts.append(node.attr)
            node = node.value
        if isinstance(node, ast.Call) and parts:
            called = self._dotted(node.func)
            module = _text_of(node.args[0]) if called in IMPORTERS and node.args else None
            if module is None:
                return ""
            parts.append(module)
        elif isinstance(node, ast.Name):
            parts.append(self._names.get(node.id, node.id))
        else:
            return ""
        return ".".join(reversed(parts))

    def _is_decoded(self, node: ast.AST) -> bool:
        """Whether something decoded is in `node`."""
        for inner in ast.walk(node):
            if isinstance(inner, ast.Call) and self._dotted(inner.func) in DECODERS:
                return True
            if isinstance(inner, ast.Name) and inner.id in self._decoded:
                return True
            is_chr = isinstance(inner, ast.Call) and self._dotted(inner.func) == "chr"
            if is_chr and inner is not node:
                return True
        return False

    def _call(self, node: ast.Call) -> Iterator[Finding]:
        name = self._dotted(node.func)
        line = node.lineno
        if name.startswith("__builtins__."):
            name = name.strip("_").replace("__.", ".")
        if name in RUNNERS and node.args:
            yield from self._running(node, name)
        elif name in RUNNING_MODULES:
            yield Finding(line, "obfuscation", "warning", name, "runs code from elsewhere")
        elif name in IMPORTERS and node.args and _text_of(node.args[0]) is None:
            yield Finding(line, "dynamic import", "warning", name, "the module's name is computed")
        elif name == "getattr" and len(node.args) > 1:
            attribute = _text_of(node.args[1])
            if attribute in INTERNALS:
                what = f"getattr(..., {attribute!r})"
                yield Finding(line, "escape", "danger", what, "reaches into object internals")
            elif attribute is None and self._dotted(node.args[0]) in ("builtins", "__builtins__"):
                yield Finding(line, "obfuscation", "warning", name, "a built-in by computed name")
        elif name in OPENERS and node.args:
            yield from self._opening(node)
        elif name == "operator.attrgetter" and "__" in "".join(
            filter(None, map(_text_of, node.args))
        ):
            yield Finding(line, "escape", "danger", name, "reaches into object internals")
        elif name in ("os.getenv", "os.environ.get", "os.environ.pop") and node.args:
            key = _text_of(node.args[0])
            if key is not None and SECRET_NAMES.search(key):
                yield Finding(line, "credentials", "warning", key, "reads a secret")
        for sign in CALLS:
            if _is_named(name, sign.names):
                severity = "note" if self._is_harmless(name, node) else sign.severity
                what = "!" if name.startswith("__notebook__.") else name
                yield Finding(line, sign.kind, severity, what, sign.reason)
                break
        if name in SHOWERS and node.args and self._dotted(node.args[0]) in ENVIRONMENT:
            yield Finding(line, "credentials", "warning", "os.environ", WHOLE_ENVIRONMENT)

    def _running(self, node: ast.Call, name: str) -> Iterator[Finding]:
        code = node.args[0]
        if self._is_decoded(code):
            reason = "runs code that was disguised"
            yield Finding(node.lineno, "obfuscation", "danger", f"{name}(decoded)", reason)
        elif _text_of(code) is None:
            reason = "runs code that is made while the snippet runs"
            yield Finding(node.lineno, "obfuscation", "warning", f"{name}(computed)", reason)

    def _opening(self, node: ast.Call) -> Iterator[Finding]:
        first = node.args[0]
        path = _template_of(first) if isinstance(first, ast.JoinedStr) else _text_of(first)
        if path is None:
            return
        if WHOLE_TREE.match(path) and self._dotted(node.func) in WALKERS:
            reason = "goes through files that are not its own"
            yield Finding(node.lineno, "files", "warning", path, reason)
        if not SYSTEM_PATH.match(path) or HARMLESS_PATH.match(path):
            return
        yield Finding(node.lineno, "files", "warning", path, "a file outside of the workspace")

    def _attribute(self, node: ast.Attribute) -> Iterator[Finding]:
        if node.attr in INTERNALS:
            what = f".{node.attr}"
            yield Finding(node.lineno, "escape", "danger", what, "reaches into object internals")
        elif node.attr in ("enable_load_extension", "load_extension"):
            what, reason = f".{node.attr}", "loads native code into the database"
            yield Finding(node.lineno, "native code", "warning", what, reason)
        elif node.attr in ENVIRONMENT_WHOLE and self._dotted(node.value) in ENVIRONMENT:
            yield Finding(node.lineno, "credentials", "warning", "os.environ", WHOLE_ENVIRONMENT)

    def _text(self, node: ast.expr, text: str) -> Iterator[Finding]:
        if any(found in INTERNALS for found in FIELD.findall(text)) or text == "__builtins__":
            yield Finding(node.lineno, "escape", "danger", text, "reaches into object internals")
        yield from _process(node, text)
        if OUT_OF_HERE.match(text):
            yield Finding(node.lineno, "files", "warning", text, "climbs out of its directory")
        if found := CREDENTIALS.search(text):
            reason = "names a place of credentials"
            yield Finding(node.lineno, "credentials", "danger", found[0], reason)
        if found := SHELL.search(text):
            yield Finding(node.lineno, "process", "danger", found[0], "a shell command of attacks")
        if found := ADDRESS.search(text):
            yield Finding(node.lineno, "network", "note", found[0], "an address on the network")
        if SECRET_NAMES.search(text) and text.isidentifier():
            yield Finding(node.lineno, "credentials", "note", text, "the name of a secret")

    def _import(self, node: ast.Import | ast.ImportFrom) -> Iterator[Finding]:
        modules = (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
        )
        for module in modules:
            for sign in CALLS:
                if sign.severity != "note" and _is_named(f"{module}.", sign.names):
                    what = f"import {module}"
                    yield Finding(node.lineno, sign.kind, "warning", what, sign.reason)
                    break


WHOLE_ENVIRONMENT = "reads the whole environment"


def _process(node: ast.expr, text: str) -> Iterator[Finding]:
    if OTHER_PROCESS.match(text):
        yield Finding(node.lineno, "escape", "warning", text, "looks into another process")


def _is_inside(path: str) -> bool:
    """Whether a path leads nowhere but below the working directory."""
    return not path.startswith(("/", "~")) and ".." not in path.split("/") and path not in ("", ".")


def _is_named(name: str, names: str) -> bool:
    return any(
        name.startswith(one[:-1]) if one.endswith("*") else name == one for one in names.split()
    )


def _template_of(node: ast.JoinedStr) -> str:
    """The text of an f-string, `*` for what is filled in."""
    return "".join(_text_of(part) or "*" for part in node.values)


def _text_of(node: ast.AST) -> str | None:
    """The text that `node` spells out, joined parts included; None if it is computed."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        left, right = _text_of(node.left), _text_of(node.right)
        return left + right if left is not None and right is not None else None
    return None
