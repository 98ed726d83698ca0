"""What this kernel holds, and the remedy for each gap."""
