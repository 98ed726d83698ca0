# any tier: protocol -> completed, next snippet
# A forked child returns into the engine's own code and answers in the name of its parent.
pid = os.fork()
contained("next snippet")
