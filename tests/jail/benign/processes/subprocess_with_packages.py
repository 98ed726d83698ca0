# uses: site-packages as seen by a second interpreter
# out: 6.0
import subprocess
import sys

code = "import numpy as np; print(np.arange(4.0).sum())"
print(subprocess.check_output([sys.executable, "-c", code], text=True).strip())
