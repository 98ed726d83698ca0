"""Conversations whose numbers every dialect's tests share."""

from scripted import CALLED, STOPPED, ScriptedModel, ScriptedTool, call, say, spent, think

POWER = "77269364466549865653073473388030061522211723"


def one_call():
    """Thinking, one call, thinking, the answer; usage is told as it grows."""
    model = ScriptedModel(
        [
            spent(341, 6, 4), *think("I need an exact"),
            spent(341, 33, 31), *think(" value, so I will run Python."),
            spent(341, 41, 31), call("123**21")[0], spent(341, 58, 31), call("123**21")[1], CALLED,
        ],
        [
            spent(452, 5, 3), *think("The tool returned"),
            spent(452, 31, 29), *think(" the number."),
            spent(452, 40, 29), *say("123 to the 21st power is "),
            spent(452, 76, 29), *say(f"{POWER}."), STOPPED,
        ],
    )  # fmt: skip
    return model, ScriptedTool(lambda code: POWER)


def repaired():
    """A snippet that fails, and one that does better."""
    model = ScriptedModel(
        [spent(352, 24, 22), *think("Try it."), *call("print(x + 1)"), spent(352, 49, 22), CALLED],
        [spent(498, 39, 37), *think("x is missing; define it."), *call("x = 41\nprint(x + 1)"),
         spent(498, 74, 37), CALLED],
        [spent(583, 14, 12), *think("Done."), spent(583, 52, 12),
         *say("x + 1 is 42 once x is 41."), STOPPED],
    )  # fmt: skip
    return model, ScriptedTool(lambda code: "42\n" if "41" in code else "NameError: x\n")
