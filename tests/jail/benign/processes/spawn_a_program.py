# uses: posix_spawn, vfork, file actions
# out: 0 spawned
import os

reader, writer = os.pipe()
pid = os.posix_spawn(
    "/bin/echo", ["echo", "spawned"], os.environ, file_actions=[(os.POSIX_SPAWN_DUP2, writer, 1)]
)
os.close(writer)
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), os.read(reader, 100).decode().strip())
