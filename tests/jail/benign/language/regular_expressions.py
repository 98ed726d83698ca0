# uses: the engine of re, with long inputs
# out: ('2024', '07') a-b 100000
import re

print(
    re.match(r"(\d{4})-(\d\d)", "2024-07-01").groups(),
    re.sub(r"\s+", "-", "a   b"),
    len(re.findall("x", "x" * 100_000)),
)
