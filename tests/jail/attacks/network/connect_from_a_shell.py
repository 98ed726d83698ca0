# namespaces: net_namespace -> completed, exit 1 | landlock: seccomp -> completed, exit 1/EACCES
# Programs that are not Python have no audit hook to obey.
# needs: /bin/bash
# bare: escapes
import subprocess


def bash():
    command = f"exec 3<>/dev/tcp/127.0.0.1/{TCP_PORT} && head -c 60 <&3"
    ended = subprocess.run(["/bin/bash", "-c", command], capture_output=True, timeout=5)
    if ended.returncode == 0:
        return ended.stdout
    return HARMLESS


attempt(bash, harmless="exit 1")
