"""Rules of the language level: imports, audit events, the restricted language."""
