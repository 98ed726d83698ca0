"""What the commands of `runner.cli` do, one a module."""
