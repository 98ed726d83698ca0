"""Text made by guest code, brought into a form and a length that a message may carry."""


def cut(text: str, cap: int) -> str:
    """`text` if it is no longer than `cap` characters, else its head, a note and its tail."""
    text = exact(text)
    if len(text) <= cap:
        return text
    half = cap // 2
    return (
        f"{text[:half]}\n... [{len(text) - 2 * half} characters left out] ...\n"
        f"{text[len(text) - half :]}"
    )


def clean(text: str) -> str:
    """`text` as an exact `str` that can be encoded: lone surrogates become escapes."""
    text = exact(text)
    if text.isascii():
        return text
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def exact(text: str) -> str:
    """`text` as a `str` and nothing more: a subclass may have a `__len__` of its own."""
    return text if type(text) is str else str.__str__(text)
