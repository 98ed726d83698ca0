"""Jupyter's kernel: its messages over one session, whatever carries them."""
