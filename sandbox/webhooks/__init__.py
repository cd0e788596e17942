"""What the payment provider tells of its own accord: signed events, sent to whoever registered an address for them."""
