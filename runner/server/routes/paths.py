"""Paths: the base paths under which the OpenAI routes are served, and how URLs name files."""

from starlette.convertors import Convertor, register_url_convertor

BASES = ("/v1", "/compatible-mode/v1", "/api/v2/apps/protocols/compatible-mode/v1")


class FilePath(Convertor[str]):
    """The rest of a URL's path, whatever characters a file name has: line ends too."""

    regex = "(?s:.*)"

    def convert(self, value: str) -> str:
        """Return the path as it is."""
        return value

    def to_string(self, value: str) -> str:
        """Return the path as it is."""
        return value


register_url_convertor("file_path", FilePath())
