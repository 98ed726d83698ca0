"""One snippet from its request to its outcome: the run, its limits, its output, its standby."""
