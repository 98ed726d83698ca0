# uses: uname, libc version, the name of the host, user database
# out: Linux CPython cellblock True
# tiers: namespaces
import os
import platform
import pwd
import socket

print(
    platform.system(), platform.python_implementation(), socket.gethostname(),
    pwd.getpwuid(os.getuid()).pw_uid == os.getuid(),
)
