# any tier: protocol -> raised Long*
# A name of ten megabytes with line ends, escapes and a tab.
raise type("Long\n\x1b[2J\t" + "x" * 10_000_000, (Exception,), {})("short")
