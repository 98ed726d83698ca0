# any tier: zygote -> completed, nothing
# str.format walks attributes; the environment must hold no secret to be found.
text = "{0.__init__.__globals__}".format(os._wrap_close) + str(dict(os.environ))
if "CELLBLOCK" + "_CANARY" in text:
    escaped(text)
else:
    contained("nothing")
