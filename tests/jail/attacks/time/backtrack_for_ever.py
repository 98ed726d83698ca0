# any tier: host -> limit_exceeded wall_s
# The regular expression that everybody knows.
# limits: wall_s=0.2
import re

re.fullmatch(r"(a+)+", "a" * 60 + "b")
