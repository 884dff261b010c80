"""The pages for people.

`page_routes` reads a session in a thread, or asks the `live_view`, and fills a template of
`templates` by `rendering`.  `timeline_svg` and `days_svg` draw; `static` has style and script.
"""
