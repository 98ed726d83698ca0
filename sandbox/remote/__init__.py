"""Sessions of another machine: the same calls, carried out by its `/v1/sessions`."""
