"""The Model Context Protocol over HTTP: routes, and a door for each key."""
