"""Charsets: the encodings of pages that are read, by the labels that servers send.

A table and no look-up by name: Python also has codecs that are no charsets, that take quadratic
time, or that refuse every input. Source of the labels: the WHATWG Encoding standard.
"""

LABEL_CHARS = 40
DEFAULT = "utf-8"
_LABELS: dict[str, tuple[str, ...]] = {  # Python's codec: labels
    "utf-8": ("utf-8", "utf8", "unicode-1-1-utf-8", "ascii", "us-ascii"),
    "utf-16-le": ("utf-16", "utf-16le", "ucs-2", "unicode"),
    "utf-16-be": ("utf-16be",),
    "cp1252": ("windows-1252", "cp1252", "iso-8859-1", "iso8859-1", "latin1", "latin-1", "l1"),
    "cp1250": ("windows-1250", "cp1250"),
    "cp1251": ("windows-1251", "cp1251"),
    "cp1253": ("windows-1253", "cp1253"),
    "cp1254": ("windows-1254", "cp1254", "iso-8859-9", "latin5"),
    "cp1255": ("windows-1255", "cp1255"),
    "cp1256": ("windows-1256", "cp1256"),
    "cp1257": ("windows-1257", "cp1257"),
    "cp1258": ("windows-1258", "cp1258"),
    "cp874": ("windows-874", "tis-620", "iso-8859-11"),
    "cp866": ("ibm866", "cp866"),
    "iso8859-2": ("iso-8859-2", "latin2", "l2"),
    "iso8859-3": ("iso-8859-3", "latin3"),
    "iso8859-4": ("iso-8859-4", "latin4"),
    "iso8859-5": ("iso-8859-5", "cyrillic"),
    "iso8859-6": ("iso-8859-6", "arabic"),
    "iso8859-7": ("iso-8859-7", "greek"),
    "iso8859-8": ("iso-8859-8", "iso-8859-8-i", "hebrew", "logical"),
    "iso8859-10": ("iso-8859-10", "latin6"),
    "iso8859-13": ("iso-8859-13",),
    "iso8859-14": ("iso-8859-14",),
    "iso8859-15": ("iso-8859-15", "latin-9", "l9"),
    "iso8859-16": ("iso-8859-16",),
    "koi8-r": ("koi8-r", "koi8", "koi"),
    "koi8-u": ("koi8-u", "koi8-ru"),
    "mac-roman": ("macintosh", "mac", "x-mac-roman"),
    "mac-cyrillic": ("x-mac-cyrillic",),
    "gb18030": ("gb18030", "gbk", "gb2312", "gb_2312", "gb_2312-80", "x-gbk", "chinese"),
    "big5hkscs": ("big5", "big5-hkscs", "cn-big5", "x-x-big5"),
    "cp932": ("shift_jis", "shift-jis", "sjis", "windows-31j", "x-sjis", "ms932"),
    "euc_jp": ("euc-jp", "x-euc-jp"),
    "iso2022_jp": ("iso-2022-jp",),
    "cp949": ("euc-kr", "korean", "ks_c_5601-1987", "windows-949", "ksc5601"),
}
CODECS = {label: codec for codec, labels in _LABELS.items() for label in labels}


def codec_of(label: str) -> str:
    """Python's codec for a charset that a server names; empty where it names none that is read."""
    return CODECS.get(label[:LABEL_CHARS].strip(" \t\"'").lower(), "")
