# any tier: protocol -> died exit 0
# Status 0 with no word of an end must not pass for success.
print("all tests passed", flush=True)
os._exit(0)
