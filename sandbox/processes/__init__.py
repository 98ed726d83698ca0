"""What the host starts, kills and meters: zygotes, workers, pools, channels, cgroups."""
