# namespaces: mount_namespace -> completed, no data | landlock: landlock -> completed, no data
# A second interpreter has no hooks and no patched import.
try:
    import _interpreters as interpreters
except ImportError:
    import _xxsubinterpreters as interpreters


def run():
    number = interpreters.create()
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    source = f"import os; os.write({writer}, open({CANARY_FILE!r}, 'rb').read())"
    try:
        interpreters.run_string(number, source)
    except Exception:
        return HARMLESS
    finally:
        interpreters.destroy(number)
    try:
        return os.read(reader, 100)
    except BlockingIOError:
        return HARMLESS


attempt(run, harmless="no data")
