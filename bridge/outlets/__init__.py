"""Webhooks out, towards the network: the body in `envelope`, its signature, the HTTP client.

Each `Delivery` of `actors.outlets` becomes a request in `envelope`, is signed by `signatures`, and
goes out by `http_sender` on a connection that stays open.
"""
