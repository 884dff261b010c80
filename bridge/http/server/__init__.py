"""From a socket to a route: connections, HTTP/1.1, bounds, the guard, the sign-in.

`listener` takes connections, `exchange` speaks HTTP/1.1 on them by h11, `routes` is the ASGI
application, `request_guard` and `sign_in` decide who gets in.
"""
