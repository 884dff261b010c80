"""The HTTP side: health, LiveKit's webhooks, the API and the pages.

    server.serve    listens; hands each connection to
    exchange        HTTP/1.1 (h11) on one side, an ASGI application on the other
    app.app         the application: a table of `Row`s behind `guard`
    health, inbox   rows
    pages           rows too: what people look at, from `templates/` and `static/`
    rendering       templates, and what makes text of strangers harmless
    board           live rooms, drawn once a change for everybody who looks
    timeline_svg    a session as one picture  (pure)
    days_svg, tree  totals by day as a picture, the actors as a table  (pure)
    signin          who gets in: the token, the cookie, and who guesses
    webhook         is this request LiveKit's?  (pure)
    translate       LiveKit's webhook in the words of `actors.session.events`  (pure)

Nothing is imported here: a worker with `--http off` does not pay for starlette.
"""
