"""What runs now: containers, sessions, background responses."""
