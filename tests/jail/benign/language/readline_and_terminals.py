# uses: programs that ask whether they talk to a terminal
# out: False False (80, 24)
import os
import shutil
import sys

os.environ.pop("COLUMNS", None)
os.environ.pop("LINES", None)
print(sys.stdin.isatty(), os.isatty(1), tuple(shutil.get_terminal_size()))
