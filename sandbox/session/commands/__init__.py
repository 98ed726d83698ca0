"""Commands of a session: programs beside the interpreter."""
