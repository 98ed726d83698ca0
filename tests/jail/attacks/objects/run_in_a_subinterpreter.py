# namespaces: mount_namespace -> completed, ENOENT/RunFailedError | landlock: landlock -> completed, EACCES/RunFailedError
# A second interpreter has no hooks and no patched import.
import _xxsubinterpreters as interpreters


def run():
    number = interpreters.create()
    reader, writer = os.pipe()
    try:
        interpreters.run_string(
            number, f"import os; os.write({writer}, open({CANARY_FILE!r}, 'rb').read())"
        )
    finally:
        interpreters.destroy(number)
    return os.read(reader, 100)


attempt(run)
