# namespaces: mount_namespace -> completed, no engine | landlock: landlock -> completed, no engine
# The host's own modules, started a second time from inside.
attempt_count = 0


def start():
    import sandbox

    return sandbox.Sandbox().run("1").text


def nested():
    try:
        return start()
    except BaseException:
        return HARMLESS


attempt(nested, harmless="no engine")
