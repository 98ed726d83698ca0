"""Tools behind one port: each module is one thing that a model may call."""
