# any tier: protocol -> completed, capped
# Displays travel on the guest channel, not on a stream; their number and size
# are bounded all the same.
class Shown:
    def _repr_html_(self):
        return "x" * 500_000


for _ in range(400):
    display(Shown())
contained("capped")
