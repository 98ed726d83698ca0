"""What keeps a copy of a session process from being faithful, and how to have it be so."""
