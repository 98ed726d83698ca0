"""What runs inside a zygote or a worker. Standard library only; the host never imports it."""
