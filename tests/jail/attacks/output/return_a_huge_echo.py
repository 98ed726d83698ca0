# any tier: protocol -> completed
# The repr of the last expression is as long as its author likes.
"x" * 50_000_000
