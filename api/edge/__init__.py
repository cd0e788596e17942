"""What every request goes through on its way to a view and back: identity, rates, bodies, repeats, refusals."""
