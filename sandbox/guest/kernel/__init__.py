"""System calls, `/proc` and the channel to the host, as the guest side uses them."""
