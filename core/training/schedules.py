"""How the learning rate and a penalty's weight move over the steps. Pure functions of the step."""


def lr_factor(step: int, steps: int, *, warmup_steps: int, decay_share: float) -> float:
    """The share of the full learning rate at `step` (0-based) of `steps`, in (0, 1].

    Linear from 1/warmup_steps up to 1, constant, then linear towards 0 over the last `decay_share` of the steps; it
    reaches 1/decay_steps at the last step, never 0.
    """
    rise = (step + 1) / warmup_steps if step < warmup_steps else 1.0
    decay_steps = round(decay_share * steps)
    fall = (steps - step) / decay_steps if step > steps - decay_steps else 1.0
    return min(rise, fall)


def warmth(step: int, warmup_steps: int) -> float:
    """The share of a penalty's full weight at `step` (0-based): linear from 0 to 1 over `warmup_steps`."""
    return 1.0 if warmup_steps == 0 else min(1.0, step / warmup_steps)
