"""The HTTP side: health, LiveKit's webhooks, later the page, the API and the metrics.

    server.serve    listens; hands each connection to
    exchange        HTTP/1.1 (h11) on one side, an ASGI application on the other
    app.app         the application: a table of `Row`s behind `guard`
    health, inbox   rows
    webhook         is this request LiveKit's?  (pure)
    translate       LiveKit's webhook in the words of `actors.session.events`  (pure)

Nothing is imported here: a worker with `--http off` does not pay for starlette.
"""
