"""LiveKit's own webhooks: `verify` checks the signature, `webhook_events` translates.  Pure.

A request passes from `bridge.http.webhook_endpoint` through these to the room manager.
"""
