"""One session and its snippets: runs, limits, output, checkpoints, files, outcomes."""
