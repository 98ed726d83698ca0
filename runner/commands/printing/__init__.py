"""What commands print: outcomes, displays, explanations, examples."""
