"""Help of groups of commands: each command's first sentence, whole, within the terminal."""

import click


class WholeHelp(click.Group):
    """A group whose list of commands cuts no sentence; they go on in the next line."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands."""
        rows = []
        for name in self.list_commands(ctx):
            command = self.get_command(ctx, name)
            if command is not None and not command.hidden:
                # As long as the text itself: the first sentence ends it, not a number.
                rows.append((name, command.get_short_help_str(len(command.help or "") + 1)))
        if rows:
            with formatter.section("Commands"):
                formatter.write_dl(rows)
