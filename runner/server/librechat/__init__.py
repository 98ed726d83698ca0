"""LibreChat's Code API: programs with files, each in a session of its own."""
