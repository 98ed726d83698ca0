# uses: argparse, sys.argv, SystemExit inside a function
# out: Namespace(number=3, flag=True) 2
import argparse
import contextlib
import io

parser = argparse.ArgumentParser()
parser.add_argument("number", type=int)
parser.add_argument("--flag", action="store_true")
found = parser.parse_args(["3", "--flag"])
with contextlib.redirect_stderr(io.StringIO()):
    try:
        parser.parse_args(["x"])
    except SystemExit as stop:
        print(found, stop.code)
