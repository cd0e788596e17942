"""How the payment provider can go wrong: which faults there are, which are armed, and what they make of an answer."""
