# any tier: output_cap -> limit_exceeded output_bytes
# Displays travel on the guest channel, not on a stream; they count all the same.
class Shown:
    def _repr_html_(self):
        return "x" * 500_000


for _ in range(400):
    display(Shown())
