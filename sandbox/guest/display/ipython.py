"""A stand-in for `IPython.display` where IPython is not installed: what snippets use of it.

It is found after everything that is installed, and by no other name: a real IPython comes first.
"""

import base64
import html
import io
import json
import mimetypes
import os
import sys
import wave
from collections.abc import Callable, Mapping, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

VERSION = (9, 0, 0)
"""The interface that is stood in for; libraries ask for it."""
DISPLAY = "IPython.display"
MODULES = (  # name                        whether it is a package
    ("IPython", True),
    ("IPython.core", True),
    ("IPython.core.display", False),
    ("IPython.core.display_functions", False),
    ("IPython.core.getipython", False),
    (DISPLAY, False),
)


class DisplayObject:
    """Data in one form, given as it is, by file name or by address."""

    _read_flags = "r"

    def __init__(
        self,
        data: Any = None,
        url: Any = None,
        filename: Any = None,
        metadata: Mapping[str, object] | None = None,
        **_others: Any,
    ) -> None:
        if isinstance(data, os.PathLike):
            data = os.fspath(data)
        if url is None and isinstance(data, str) and data.startswith(("http://", "https://")):
            data, url = None, data
        elif filename is None and isinstance(data, str) and self._is_file_name(data):
            data, filename = None, data
        self.data = data
        self.url = url
        self.filename = None if filename is None else os.fspath(filename)
        self.metadata = dict(metadata or {})
        self.reload()

    def reload(self) -> None:
        """Read the data, if it was given by file name."""
        if self.filename is not None:
            with open(self.filename, self._read_flags) as stream:
                self.data = stream.read()

    def _is_file_name(self, _data: str) -> bool:
        return False

    def __repr__(self) -> str:
        return f"<IPython.core.display.{type(self).__name__} object>"


class TextDisplayObject(DisplayObject):
    """Text of a kind."""


class HTML(TextDisplayObject):
    """A piece of a page."""

    def _repr_html_(self) -> object:
        return self.data

    def __html__(self) -> object:
        return self.data


class Markdown(TextDisplayObject):
    def _repr_markdown_(self) -> object:
        return self.data


class Math(TextDisplayObject):
    def _repr_latex_(self) -> str:
        return f"$\\displaystyle {str(self.data).strip('$')}$"


class Latex(TextDisplayObject):
    def _repr_latex_(self) -> object:
        return self.data


class SVG(DisplayObject):
    _read_flags = "rb"

    def _is_file_name(self, data: str) -> bool:
        return not data.lstrip().startswith("<")

    def _repr_svg_(self) -> object:
        return self.data


class JSON(DisplayObject):
    def _is_file_name(self, data: str) -> bool:
        return data.endswith(".json")

    def _repr_json_(self) -> object:
        return json.loads(self.data) if isinstance(self.data, str | bytes) else self.data


class GeoJSON(JSON):
    def _repr_mimebundle_(self, **_options: object) -> dict[str, object]:
        return {"application/geo+json": self._repr_json_()}


class Javascript(TextDisplayObject):
    def _repr_javascript_(self) -> object:
        return self.data


class Pretty(TextDisplayObject):
    def __repr__(self) -> str:
        return str(self.data)


class Code(TextDisplayObject):
    """Source text; it is shown without colours."""

    def __repr__(self) -> str:
        return str(self.data)

    def _repr_html_(self) -> str:
        return f"<pre><code>{html.escape(str(self.data))}</code></pre>"


class Image(DisplayObject):
    """A picture, by its bytes, file name or address."""

    _read_flags = "rb"

    def __init__(
        self,
        data: Any = None,
        url: Any = None,
        filename: Any = None,
        format: str | None = None,
        embed: bool | None = None,
        width: int | None = None,
        height: int | None = None,
        **others: Any,
    ) -> None:
        self.width, self.height = width, height
        super().__init__(data, url, filename, **others)
        self.format = (format or self._kind()).lower().replace("jpg", "jpeg")

    def _is_file_name(self, data: str) -> bool:
        return True

    def _kind(self) -> str:
        name = self.filename or self.url
        if name:
            return (mimetypes.guess_type(name)[0] or "image/png").partition("/")[2]
        head = self.data[:12] if isinstance(self.data, bytes) else b""
        for start, kind in ((b"\xff\xd8", "jpeg"), (b"GIF8", "gif"), (b"RIFF", "webp")):
            if head.startswith(start):
                return kind
        return "png"

    def _repr_mimebundle_(self, **_options: object) -> tuple[dict[str, Any], dict[str, Any]]:
        if self.data is None:
            sizes = "".join(
                f' {name}="{size}"'
                for name, size in (("width", self.width), ("height", self.height))
                if size
            )
            return {"text/html": f'<img src="{html.escape(str(self.url))}"{sizes}/>'}, {}
        details = {"width": self.width, "height": self.height}
        kept = {name: size for name, size in details.items() if size}
        if self.format == "svg+xml":
            return {"image/svg+xml": self.data}, kept
        return {f"image/{self.format}": self.data}, kept


class _Media(DisplayObject):
    """Sound or film, as an element of a page that has it inside."""

    _read_flags = "rb"
    _tag = ""
    _mime = ""

    def _is_file_name(self, data: str) -> bool:
        return True

    def _repr_html_(self) -> str:
        source = self.url
        if self.data is not None:
            kind = (self.filename and mimetypes.guess_type(self.filename)[0]) or self._mime
            source = f"data:{kind};base64,{base64.b64encode(self.data).decode()}"
        return f'<{self._tag} controls src="{html.escape(str(source))}"></{self._tag}>'


class Video(_Media):
    _tag = "video"
    _mime = "video/mp4"


class Audio(_Media):
    """Sound, by its bytes or file, or as numbers with a `rate`."""

    _tag = "audio"
    _mime = "audio/wav"

    def __init__(self, data: Any = None, *, rate: int | None = None, **others: Any) -> None:
        if rate is not None and data is not None and not isinstance(data, str | bytes):
            data = _wave_of(data, rate)
        super().__init__(data, **others)


def _wave_of(numbers: Any, rate: int) -> bytes:
    """A WAV file of one or more channels of `numbers`, scaled to their largest."""
    rows = numbers.tolist() if hasattr(numbers, "tolist") else list(numbers)
    channels = rows if rows and isinstance(rows[0], Sequence) else [rows]
    largest = max((abs(number) for row in channels for number in row), default=0) or 1
    frames = bytearray()
    for samples in zip(*channels, strict=True):
        for number in samples:
            frames += int(number / largest * 32767).to_bytes(2, "little", signed=True)
    file = io.BytesIO()
    with wave.open(file, "wb") as stream:
        stream.setnchannels(len(channels))
        stream.setsampwidth(2)
        stream.setframerate(rate)
        stream.writeframes(bytes(frames))
    return file.getvalue()


class IFrame:
    """Another page inside of this one."""

    def __init__(self, src: str, width: object, height: object, **_others: object) -> None:
        self.src, self.width, self.height = src, width, height

    def _repr_html_(self) -> str:
        source = html.escape(self.src)
        return f'<iframe src="{source}" width="{self.width}" height="{self.height}"></iframe>'


class FileLink:
    """The name of a file of the workspace."""

    def __init__(self, path: Any, **_others: object) -> None:
        self.path = str(os.fspath(path))

    def __repr__(self) -> str:
        return os.path.abspath(self.path)

    def _repr_html_(self) -> str:
        name = html.escape(self.path)
        return f'<a href="{name}" target="_blank">{name}</a>'


CLASSES: tuple[type, ...] = (
    *(DisplayObject, TextDisplayObject, HTML, Markdown, Math, Latex, SVG, JSON, GeoJSON),
    *(Javascript, Pretty, Code, Image, Video, Audio, IFrame, FileLink),
)
for _kind in CLASSES:
    _kind.__module__ = "IPython.core.display"


def get_ipython() -> None:
    """Return None: there is no interactive shell."""


def set_matplotlib_formats(*_formats: str, **_options: object) -> None:
    """Leave plots as they are shown here."""


class Finder(MetaPathFinder, Loader):
    """Finds the modules in `MODULES`, and fills them."""

    def __init__(self, functions: Mapping[str, Callable[..., object]]) -> None:
        self._functions = functions

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        is_package = dict(MODULES).get(name)
        if is_package is None:
            return None
        # An installed IPython lacks what it lacks: its modules are not mixed with these.
        parent = sys.modules.get("IPython")
        if name != "IPython" and getattr(parent, "__loader__", None) is not self:
            return None
        return ModuleSpec(name, self, is_package=is_package)

    def exec_module(self, module: ModuleType) -> None:
        """Give `module` all names: snippets know them from several places."""
        content: dict[str, object] = {kind.__name__: kind for kind in CLASSES}
        content.update(self._functions)
        content.update(get_ipython=get_ipython, set_matplotlib_formats=set_matplotlib_formats)
        if module.__name__ == "IPython":
            content = {
                "get_ipython": get_ipython,
                "version_info": (*VERSION, ""),
                "__version__": ".".join(map(str, VERSION)),
                "display": self._functions["display"],
            }
        elif module.__name__ in ("IPython.core", "IPython.core.getipython"):
            content = {"get_ipython": get_ipython}
        vars(module).update(content)


def offer(functions: Mapping[str, Callable[..., object]]) -> None:
    """Let snippets import the stand-in; `functions` are those of this session."""
    sys.meta_path.append(Finder(functions))
