"""A value as a MIME bundle, by the methods that IPython asks for; bounded.

Everything here calls guest code: `__repr__`, `_repr_html_` and their kind. What such a method
raises becomes one line of text; an interrupt or an exit passes through.
"""

import base64
import binascii
import json
import math
from collections.abc import Callable, Mapping
from json.encoder import encode_basestring_ascii
from typing import Any, NamedTuple, TypeGuard

from sandbox.guest.display import charts, figure_data, figures, tables
from sandbox.guest.display.names import short_type_name
from sandbox.guest.display.texts import clean, cut

Scalar = str | int | float | bool | None

MiB = 1024 * 1024
TEXT_CAP = 200_000
"""Characters of the plain text of a value; more is cut in the middle."""
FORM_CAP = 5 * MiB
"""Characters of one form of a value, as a frame's JSON has them; a longer one becomes a file."""
BUNDLE_CAP = 12 * MiB
"""With the plain text, and escaped, a bundle of this size fits the largest frame."""
TYPES_CAP = 30
MIME_CAP = 200
METADATA_CAP = 64
METADATA_TEXT_CAP = 1_000
REASON_CAP = 300
PNG_HEADER = b"\x89PNG\r\n\x1a\n"

METHODS = (  # in the order in which they are asked; a later raster image is skipped
    ("text/html", "_repr_html_"),
    ("text/markdown", "_repr_markdown_"),
    ("text/latex", "_repr_latex_"),
    ("image/svg+xml", "_repr_svg_"),
    ("image/png", "_repr_png_"),
    ("image/jpeg", "_repr_jpeg_"),
    ("application/pdf", "_repr_pdf_"),
    ("application/json", "_repr_json_"),
    ("application/javascript", "_repr_javascript_"),
)
PLAIN_TYPES = frozenset(
    {bool, int, float, complex, str, bytes, bytearray, list, tuple, dict, set, frozenset, range}
)
"""Types of which no value has a form but its repr; they are not asked."""


BYTES = (bytes, bytearray, memoryview)
BINARY = ("image/", "audio/", "video/", "font/", "application/pdf", "application/octet-stream")


class Bundle(NamedTuple):
    """One thing to show, in several forms; its plain text names the forms that were left out."""

    data: dict[str, str]
    metadata: dict[str, Scalar]
    is_rich: bool
    """Whether there is more than the plain text, or would be but for a cap."""

    @property
    def cost(self) -> int:
        """Characters that the bundle takes in a frame."""
        return sum(map(cost, self.data.values()))


def text_of(value: object) -> str:
    """`repr(value)`, cut; one line of explanation if it raises."""
    try:
        return clean(cut(repr(value), TEXT_CAP))
    except Exception as error:  # noqa: BLE001
        return failure("repr", value, error)


Keep = Callable[[str, bytes], str]
"""Writes a form that is too long, of this type, to a file; gives its name, or raises OSError."""


def _keep_nothing(_mime: str, _data: bytes) -> str:
    raise OSError("there is no place for it")


def bundle_of(value: object, text: str, keep: Keep = _keep_nothing) -> Bundle:
    """`value` in all forms that it offers; `text` is its plain one."""
    if type(value) in PLAIN_TYPES or value is None:
        return Bundle({"text/plain": text}, {}, False)
    forms = _Forms(text, keep)
    if figures.is_figure(value):
        forms.take_figure(value)
    elif charts.is_chart(value):
        forms.take_chart(value)
    elif tables.is_table(value):
        forms.ask(value)
        forms.take_table(value)
    else:
        if figures.is_image_to_convert(value):
            forms.take_image(value)
        forms.ask(value)
    return forms.bundle()


def bundle_from(
    data: Mapping[str, object],
    metadata: Mapping[str, object] | None,
    keep: Keep = _keep_nothing,
) -> Bundle:
    """A bundle whose forms the caller made itself."""
    if not isinstance(data, Mapping):
        raise TypeError(f"a bundle maps MIME types to data, not {short_type_name(type(data))}")
    forms = _Forms(None, keep)
    forms.take_all(data, metadata or {})
    return forms.bundle()


def failure(what: str, value: object, error: Exception) -> str:
    """One line: `what` of `value` raised `error`."""
    return f"<{what} of {short_type_name(type(value))} failed: {reason(error)}>"


def reason(error: Exception) -> str:
    """Type and message of an exception in one line."""
    kind = short_type_name(type(error))
    try:
        message = " ".join(str(error)[:REASON_CAP].split())
    except Exception:  # noqa: BLE001
        return kind
    return clean(f"{kind}: {message}") if message else kind


def cost(text: str) -> int:
    """Characters of `text` as JSON writes it."""
    return len(encode_basestring_ascii(text))


class _Forms:
    """Collects the forms of one value within the caps."""

    def __init__(self, text: str | None, keep: Keep) -> None:
        self._text = text
        self._keep = keep
        self._data: dict[str, str] = {}
        self._metadata: dict[str, Scalar] = {}
        self._notes: list[str] = []
        self._cost = 0

    def bundle(self) -> Bundle:
        text = self._data.pop("text/plain", None) if self._text is None else self._text
        is_rich = bool(self._data or self._notes)
        parts = ([] if text is None else [text]) + self._notes
        data = {"text/plain": "\n".join(parts)} if parts else {}
        data.update(self._data)
        return Bundle(data, self._metadata, is_rich)

    def ask(self, value: Any) -> None:
        """Take what the methods of `value` give; those of IPython's protocol, in its order."""
        try:
            # An object that has every attribute that one asks for has none of these.
            canary = getattr(value, "_ipython_canary_method_should_not_exist_", None)
            if canary is not None or isinstance(value, type):
                return
        except Exception:  # noqa: BLE001
            return
        found = self._call(value, "_repr_mimebundle_", {"include": None, "exclude": None})
        data, metadata = found if type(found) is tuple and len(found) == 2 else (found, {})
        if isinstance(data, Mapping):
            self.take_all(data, metadata if isinstance(metadata, Mapping) else {})
        for mime, method in METHODS:
            if mime in self._data or (mime == "image/jpeg" and "image/png" in self._data):
                continue
            found = self._call(value, method, {})
            item, details = found if type(found) is tuple and len(found) == 2 else (found, {})
            self.take(mime, item, details)

    def take_figure(self, figure: object) -> None:
        """Take the picture of a matplotlib figure, and what it was drawn from if that is asked."""
        try:
            self.take("image/png", figures.png_of(figure))
        except Exception as error:  # noqa: BLE001
            self._notes.append(failure("drawing", figure, error))
            return
        if figure_data.is_asked():
            try:
                self.take(figure_data.MIME, figure_data.data_of(figure))
            except Exception as error:  # noqa: BLE001
                self._notes.append(failure("data", figure, error))

    def take_image(self, image: object) -> None:
        """Take an image that does not give a PNG by itself."""
        try:
            self.take("image/png", figures.png_of_image(image))
        except Exception as error:  # noqa: BLE001
            self._notes.append(failure("image/png", image, error))

    def take_chart(self, chart: object) -> None:
        """Take the forms of an interactive chart: a page, and what it was drawn from."""
        for mime, make in charts.forms_of(chart):
            try:
                self.take(mime, make())
            except Exception as error:  # noqa: BLE001
                self._notes.append(failure(mime, chart, error))

    def take_table(self, value: object) -> None:
        """Take the forms that a pandas table does not offer by itself."""
        try:
            if "text/html" not in self._data:
                self.take("text/html", tables.html_of(value))
            self.take("application/json", tables.sample_of(value))
        except Exception as error:  # noqa: BLE001
            self._notes.append(failure("sample", value, error))

    def take_all(self, data: Mapping[Any, object], metadata: Mapping[Any, object]) -> None:
        for mime, item in data.items():
            if isinstance(mime, str):
                self.take(clean(mime), item, metadata.get(mime))
        self._note_metadata(metadata)

    def take(self, mime: str, item: object, metadata: object = None) -> None:
        """Take one form, encoded; a note instead if it is too long or not what it says."""
        if item is None or len(mime) > MIME_CAP:
            return
        if len(self._data) + len(self._notes) >= TYPES_CAP:
            return
        if _is_binary(mime) and isinstance(item, BYTES) and len(item) > FORM_CAP:
            self._keep_as_file(mime, bytes(item), f"{len(item)} bytes, {FORM_CAP} are shown")
            return
        try:
            text = _encode(mime, item)
        except Exception as error:  # noqa: BLE001
            self._notes.append(f"[{mime} left out: {reason(error)}]")
            return
        if mime == "text/plain":
            text = cut(text, TEXT_CAP)
        size = len(text) if text.isascii() and _is_binary(mime) else cost(text)
        cap = min(FORM_CAP, BUNDLE_CAP - self._cost)
        if size > cap and mime != "text/plain":
            data = base64.b64decode(text) if _is_binary(mime) else text.encode()
            self._keep_as_file(mime, data, f"{size} characters, {cap} are shown")
            return
        self._cost += size
        self._data[mime] = text
        if isinstance(metadata, Mapping):
            self._note_metadata(metadata)
        if mime == "image/png":
            self._note_metadata(_png_size(text))

    def _keep_as_file(self, mime: str, data: bytes, why: str) -> None:
        try:
            self._notes.append(f"[{mime} is in the file {self._keep(mime, data)}: {why}]")
        except OSError as error:
            reason = error.strerror or str(error)
            self._notes.append(
                f"[{mime} left out: {why}, and it could not be saved as a file ({reason});"
                " save a smaller or simpler version, or have limits.workspace_bytes raised]"
            )

    def _call(self, value: object, method: str, options: dict[str, None]) -> object:
        try:
            found = getattr(value, method, None)
            return found(**options) if callable(found) else None
        except NotImplementedError:
            return None
        except Exception as error:  # noqa: BLE001
            self._notes.append(failure(method, value, error))
            return None

    def _note_metadata(self, metadata: Mapping[Any, object]) -> None:
        for name, value in metadata.items():
            if type(value) is str:
                value = clean(value[:METADATA_TEXT_CAP])
            if isinstance(name, str) and len(self._metadata) < METADATA_CAP and _is_scalar(value):
                self._metadata.setdefault(clean(name[:MIME_CAP]), value)


def _is_scalar(value: object) -> TypeGuard[str | int | float | bool]:
    """Whether a message may carry `value` as metadata."""
    if type(value) is float:
        return math.isfinite(value)
    return type(value) in (str, bool) or (type(value) is int and abs(value) < 2**63)


def _encode(mime: str, item: object) -> str:
    """`item` as the text that stands for it in a bundle."""
    if _is_binary(mime):
        if isinstance(item, BYTES):
            return base64.b64encode(item).decode("ascii")
        if isinstance(item, str):
            text = "".join(item.split())
            binascii.a2b_base64(text, strict_mode=True)
            return text
    if isinstance(item, (bytes, bytearray)):
        item = item.decode("utf-8", "replace")
    if isinstance(item, str) and not _is_json(mime):
        return clean(item)
    if isinstance(item, str):
        json.loads(item)
        return clean(item)
    if _is_json(mime):
        return json.dumps(item, default=_as_json, allow_nan=False)
    raise TypeError(f"{short_type_name(type(item))} instead of text")


def _is_binary(mime: str) -> bool:
    return mime.startswith(BINARY) and not mime.endswith("+xml")


def _is_json(mime: str) -> bool:
    return mime == "application/json" or mime.endswith("+json")


def _as_json(value: Any) -> object:
    """What stands for a value that JSON does not know: numbers and lists of arrays, else text."""
    for method in ("tolist", "isoformat"):
        if hasattr(value, method):
            return getattr(value, method)()
    return str(value)


def _png_size(text: str) -> dict[str, int]:
    head = base64.b64decode(text[:32])
    if len(head) < 24 or not head.startswith(PNG_HEADER):
        return {}
    return {
        "width": int.from_bytes(head[16:20], "big"),
        "height": int.from_bytes(head[20:24], "big"),
    }
