# any tier: protocol -> raised KeyboardInterrupt
# A snippet's own KeyboardInterrupt is no deadline.
raise KeyboardInterrupt
