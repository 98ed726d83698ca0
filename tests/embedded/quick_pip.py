"""`pip download` of one hashed requirement from a folder: what pip does there, at a tenth of the
time. The tests of the command's faults use pip itself."""

import hashlib
import itertools
import os
import shutil
import sys
from pathlib import Path

arguments = sys.argv[1:]
given = dict(itertools.pairwise(arguments))
pin, _, sha256 = Path(given["--requirement"]).read_text().strip().partition(" --hash=sha256:")
name = "-".join(pin.replace("-", "_").split("=="))
found = list(Path(os.environ["PIP_FIND_LINKS"]).glob(f"{name}-*.whl"))
if not found:
    sys.exit(f"ERROR: No matching distribution found for {pin}")
if hashlib.sha256(found[0].read_bytes()).hexdigest() != sha256:
    sys.exit("ERROR: THESE PACKAGES DO NOT MATCH THE HASHES")
shutil.copy(found[0], given["--dest"])
