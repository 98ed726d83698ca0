"""Asked limits: what a client may spend on one run, never more than the policy allows."""

from sandbox import Limits


def within(asked: Limits, policy: Limits) -> Limits:
    """`asked` with what it sets lowered to the policy's.

    Memory stays as it is asked for: a session is built for the policy's, and refuses more.
    """
    lowered = {
        name: min(getattr(asked, name), getattr(policy, name))
        for name in asked.model_fields_set - {"memory_bytes"}
    }
    return asked.model_copy(update=lowered)
