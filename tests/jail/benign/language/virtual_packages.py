# uses: package metadata, resources, zip imports
# out: True from the zip
import importlib.metadata
import sys
import zipfile

with zipfile.ZipFile("packed.zip", "w") as archive:
    archive.writestr("inzip.py", "WORD = 'from the zip'")
sys.path.insert(0, "packed.zip")
import inzip

print(importlib.metadata.version("numpy").count(".") >= 2, inzip.WORD)
