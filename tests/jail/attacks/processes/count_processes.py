# namespaces: pid_namespace -> completed, few | landlock: landlock -> completed, EACCES
# Nothing but the session's own processes is listed.
# bare: escapes
def crowd():
    numbers = [int(name) for name in os.listdir("/proc") if name.isdigit()]
    return numbers if len(numbers) > 8 else HARMLESS


attempt(crowd, harmless="few")
