# any tier: protocol -> limit_exceeded memory_bytes or raised * or died SIGSEGV
# Source text that the compiler takes for a tree of a hundred thousand levels.
eval("-" * 100_000 + "1")
