# any tier: protocol -> raised SyntaxError
# Attributes of an exception that its printer reads, each of another type than it expects.
error = SyntaxError("forged")
error.lineno, error.offset, error.end_lineno, error.end_offset = 10**30, -5, "x", 1.5
error.text, error.filename, error.print_file_and_line = b"\xff" * 10_000_000, 7, object()
error.__notes__ = [object(), "x" * 10_000_000, b"\xff"]
error.__cause__, error.__context__ = ValueError("cause"), error
error.__cause__.__notes__ = 5
raise error
