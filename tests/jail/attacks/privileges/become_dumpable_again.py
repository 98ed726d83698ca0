# any tier: not_dumpable -> completed, own process only
# A dumpable process may be traced by others of its user; here no other process has that user.
PR_GET_DUMPABLE, PR_SET_DUMPABLE = 3, 4


def others():
    call("prctl", PR_SET_DUMPABLE, 1, 0, 0, 0)
    data = open(f"/proc/{os.getppid()}/environ", "rb").read()
    return data or HARMLESS


def become():
    try:
        return others()
    except (FileNotFoundError, PermissionError):
        return HARMLESS


attempt(become, harmless="own process only")
