"""The payment provider on the wire: Stripe's API for payment intents, refunds, events and webhook endpoints."""
