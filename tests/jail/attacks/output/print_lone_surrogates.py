# any tier: protocol -> raised UnicodeEncodeError
# Half a character has no bytes.
sys.stdout.reconfigure(errors="strict")
print("\ud800 \udfff")
