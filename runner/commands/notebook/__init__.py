"""Commands for notebooks."""
