"""Everything that runs inside a zygote or a worker. Standard library only; never imported by the host."""
