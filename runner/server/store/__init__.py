"""What survives a restart: records in SQLite, content in a folder."""
