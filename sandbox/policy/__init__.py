"""What is allowed: policies and limits, and how they are lowered to a plan for the jail."""
