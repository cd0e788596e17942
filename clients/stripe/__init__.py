"""The door to Stripe: the official SDK behind one class, and its answers reduced to the words of every provider.

Nothing else reads Stripe's replies or errors. A call never raises for what Stripe did or failed to do, never retries,
and answers `UNKNOWN` whenever it cannot prove that no money moved. SDK exceptions carry whole bodies, and end here.
"""

from clients.stripe.provider import StripeProvider

__all__ = ["StripeProvider"]
