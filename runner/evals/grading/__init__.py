"""Verdicts: runs candidates, judges what they answer, scores."""
