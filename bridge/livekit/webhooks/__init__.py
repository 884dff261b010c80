"""LiveKit's own webhooks: `verify` their signature, translate them in `webhook_events`.  Pure."""
