"""Packages beside those of the interpreter: environments by name, and what one session gets.

Wheels only: nothing of a package runs on the host.
"""
