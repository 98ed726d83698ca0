"""What a snippet shows: values, figures, tables, tracebacks, streams."""
