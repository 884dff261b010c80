"""Deliveries that must arrive: webhooks out of this program, at least once and in order.

`subscription` says which entries an endpoint wants.  `outbox` is the actor of one endpoint: it
follows the feed of durable entries, sends each by the `outlet_port`, and keeps what failed in the
store until it was delivered or given up.  `retry` says when a delivery is tried again, `breaker`
when the whole endpoint is.
"""
