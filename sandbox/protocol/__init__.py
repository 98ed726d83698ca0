"""What both sides share: frames, messages and the plan. Standard library only."""
