# uses: /bin/sh, pipelines, coreutils
# out: 3 two
import subprocess

print(
    subprocess.check_output("printf 'one\\ntwo\\nthree\\n' | wc -l", shell=True, text=True).strip(),
    subprocess.getoutput("printf 'one\\ntwo\\n' | tail -n 1"),
)
