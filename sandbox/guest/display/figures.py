"""matplotlib figures as PNG: those that pyplot holds open, and any other; images of Pillow too.

Neither library is ever imported here; a figure can only come from a snippet that did.
"""

import functools
import io
import math
import os
import re
import sys
import warnings
from collections.abc import Callable
from types import ModuleType
from typing import Any

from sandbox.guest.language.hooks import ImportHooks

PIXELS_CAP = 25_000_000
PAD_INCHES = 0.1
CJK_FONTS = (
    *("Noto Sans CJK SC", "Noto Sans CJK JP", "Noto Sans CJK TC", "Noto Sans CJK KR"),
    *("Source Han Sans SC", "Source Han Sans CN", "Noto Sans SC", "Noto Sans JP", "Noto Sans KR"),
    *("WenQuanYi Zen Hei", "WenQuanYi Micro Hei", "Droid Sans Fallback", "SimHei"),
    *("Microsoft YaHei", "PingFang SC", "Arial Unicode MS", "IPAGothic", "NanumGothic"),
)
"""Families with glyphs for Chinese, Japanese or Korean; the first that is installed is used."""
SHOWN_AS = {  # mode of an image that is no PNG: the nearest that is
    **dict.fromkeys(("CMYK", "YCbCr", "LAB", "HSV", "RGBX"), "RGB"),
    **dict.fromkeys(("RGBa", "PA"), "RGBA"),
    **dict.fromkeys(("F", "I", "I;16B", "I;16L", "I;16N"), "L"),
    "La": "LA",
}

BACKEND = "agg"
WINDOWS = re.compile(
    r"(gtk|qt|tk|wx|macosx|osx|webagg|nbagg|notebook|ipympl|widget|module://ipympl)", re.I
)
"""How names of backends and of toolkits begin that need a window, or a page that answers."""
INLINE = re.compile(r"(module://matplotlib_inline\.\w+|inline)", re.I)
"""Names for what is done here anyway."""


def preset_backend() -> None:
    """Make Agg the backend of choice: there is no window to draw in."""
    os.environ.setdefault("MPLBACKEND", "Agg")


def keep_backend(hooks: ImportHooks) -> None:
    """Warn of a backend that needs a window, and stay with the one that does not."""

    def teach_use(matplotlib: ModuleType) -> None:
        use = matplotlib.use

        @functools.wraps(use)
        def use_drawable(backend: Any, **options: Any) -> None:
            use(drawable(backend, 3), **options)

        matplotlib.use = use_drawable  # type: ignore[attr-defined]

    def teach_switch(pyplot: ModuleType) -> None:
        switch = pyplot.switch_backend

        @functools.wraps(switch)
        def switch_drawable(newbackend: Any) -> None:
            switch(drawable(newbackend, 3))

        pyplot.switch_backend = switch_drawable  # type: ignore[attr-defined]

    hooks.when_imported("matplotlib", teach_use)
    hooks.when_imported("matplotlib.pyplot", teach_switch)


def drawable(asked: Any, stacklevel: int) -> Any:
    """The backend to use for the one that was asked for; a warning at that caller if another."""
    if not isinstance(asked, str):
        return BACKEND  # To choose itself, it would try the windows one by one.
    if WINDOWS.match(asked):
        warnings.warn(
            f"matplotlib backend {asked!r}: there is no display here; figures are shown as images",
            stacklevel=stacklevel,
        )
        return BACKEND
    return BACKEND if INLINE.fullmatch(asked) else asked


def when_shown(hooks: ImportHooks, show: Callable[[Any], None]) -> None:
    """Call `show` with a figure when a snippet shows it, by `plt.show()` or `figure.show()`.

    Both end in the manager's `show`, for which a backend without windows has a warning at most.
    The figure is closed after that, as if its window had been.
    """

    def teach(backend_bases: ModuleType) -> None:
        def show_manager(manager: Any) -> None:
            show(manager.canvas.figure)
            close(manager.canvas.figure)

        backend_bases.FigureManagerBase.show = show_manager

    hooks.when_imported("matplotlib.backend_bases", teach)


def may_be_open() -> bool:
    """Whether pyplot is there at all, in whole or in part."""
    return "matplotlib._pylab_helpers" in sys.modules


def open_figures() -> list[Any]:
    """The figures that pyplot holds, in the order of their numbers."""
    helpers = sys.modules.get("matplotlib._pylab_helpers")
    if helpers is None or not hasattr(helpers, "Gcf"):
        return []
    managers = sorted(helpers.Gcf.get_all_fig_managers(), key=lambda manager: manager.num)
    return [manager.canvas.figure for manager in managers]


def close(figure: Any) -> None:
    """Make pyplot forget `figure`."""
    sys.modules["matplotlib._pylab_helpers"].Gcf.destroy_fig(figure)


def is_figure(value: object) -> bool:
    """Whether `value` is a matplotlib figure."""
    kind = getattr(sys.modules.get("matplotlib.figure"), "Figure", None)
    return isinstance(kind, type) and issubclass(type(value), kind)


def is_empty(figure: Any) -> bool:
    """Whether nothing was ever drawn on `figure`."""
    return len(figure.get_children()) <= 1


def fall_back(figure: Any) -> bool:
    """Let texts of `figure` find Chinese, Japanese and Korean glyphs; False if that is no news.

    Later figures find them too. An installed font is needed; without one nothing is changed.
    """
    fonts = sys.modules.get("matplotlib.font_manager")
    texts = sys.modules.get("matplotlib.text")
    settings = getattr(sys.modules.get("matplotlib"), "rcParams", None)
    if fonts is None or texts is None or settings is None:
        return False
    installed = {entry.name for entry in fonts.fontManager.ttflist}
    font = next((name for name in CJK_FONTS if name in installed), None)
    if font is None:
        return False
    if font not in settings["font.family"]:
        settings["font.family"] = [*settings["font.family"], font]
    without = [
        text for text in figure.findobj(texts.Text) if font not in list(text.get_fontfamily())
    ]
    for text in without:
        text.set_fontfamily([*text.get_fontfamily(), font])
    return bool(without)


def png_of(figure: Any) -> bytes:
    """`figure` with all that sticks out of its edges. Raises ValueError if it is too large."""
    width, height = figure.get_size_inches()
    pixels = int(width * height * figure.dpi**2)
    if pixels > PIXELS_CAP:
        raise ValueError(f"{pixels} pixels, {PIXELS_CAP} are allowed")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=figure.dpi, bbox_inches=_outline(figure))
    return buffer.getvalue()


def is_image_to_convert(value: object) -> bool:
    """Whether `value` is an image of Pillow's in a mode that no PNG has."""
    kind = getattr(sys.modules.get("PIL.Image"), "Image", None)
    is_image = isinstance(kind, type) and issubclass(type(value), kind)
    return is_image and getattr(value, "mode", None) in SHOWN_AS


def png_of_image(image: Any) -> bytes:
    """`image` in the nearest mode that PNG has. Raises ValueError if it is too large."""
    pixels = image.width * image.height
    if pixels > PIXELS_CAP:
        raise ValueError(f"{pixels} pixels, {PIXELS_CAP} are allowed")
    wanted = SHOWN_AS[image.mode]
    buffer = io.BytesIO()
    (_stretched(image) if wanted == "L" else image).convert(wanted).save(buffer, "PNG")
    return buffer.getvalue()


def _stretched(image: Any) -> Any:
    """Numbers as shades: of 0 to 1, of 0 to 255, or else from the least, black, to the most."""
    numbers = image.convert("F")
    least, most = numbers.getextrema()
    if least >= 0 and most <= 1:
        least, most = 0.0, 1.0
    elif least == most or (least >= 0 and most <= 255) or not math.isfinite(most - least):
        return numbers
    scale = 255 / (most - least)
    return numbers.point(lambda number: number * scale + (0.5 - least * scale))


def _outline(figure: Any) -> Any:
    """The box around all that is drawn; None, for the figure's own, if it cannot be had."""
    try:
        figure.draw_without_rendering()
        box = figure.get_tightbbox().padded(PAD_INCHES)
    # What is placed far outside breaks the measuring already; what is wrong breaks drawing too.
    except Exception:  # noqa: BLE001
        return None
    return box if 0 < box.width * box.height * figure.dpi**2 <= PIXELS_CAP else None
