"""Tries each layer for real in throw-away children."""
