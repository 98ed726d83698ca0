"""What a person reads of a run: progress, table, page."""
