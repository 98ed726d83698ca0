"""Routes of E2B's services: the API, the code interpreter, files, and two over Connect."""
