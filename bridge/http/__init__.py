"""The HTTP side: health, metrics, LiveKit's webhooks, the API and the pages.

    server/            from a socket to a route: connections, HTTP/1.1, the guard, the sign-in
    api/               routes for programs: JSON, CSV, server-sent events, OpenAPI
    pages/             routes for people: templates, timelines as SVG, the live view
    health             `/healthz` and `/readyz`
    metrics            `/metrics`: metrics of Prometheus as text
    metric_sources     which metrics there are, and where each value comes from
    webhook_endpoint   `/livekit/webhook`: checks a webhook and passes it on

A request passes `server.listener`, `server.exchange` and `server.request_guard`, then
`server.routes` calls the function of its route.  `bridge.app.web` puts the routes together.

Nothing is imported here: a worker with `--http off` does not pay for starlette.
"""
