# any tier: protocol -> raised ExceptionGroup
# A group of groups of groups, each with notes.
def tree(depth):
    if depth == 0:
        error = ValueError("leaf")
        error.add_note("note" * 10_000)
        return error
    return ExceptionGroup("branch", [tree(depth - 1) for _ in range(4)])


raise tree(5)
