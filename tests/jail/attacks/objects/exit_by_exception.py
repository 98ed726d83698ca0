# any tier: protocol -> completed
# sys.exit ends the snippet, not the session.
sys.exit(0)
