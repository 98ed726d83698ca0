"""Branches of a session, made inside its namespaces."""
