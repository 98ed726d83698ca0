"""What notebooks add to Python: magics, shell commands, the values of earlier snippets."""
