"""When … then …: rules over sessions, as pure functions of state and time.

A rule of the config file becomes a `Rule` in `rule_config`, its conditions become closures in
`conditions`.  `episodes` says for each rule and room (or person) whether it is pending, firing or
resolved, with Prometheus' words and meanings; `rule_entries` names the entries that a rule reads.
Nothing here acts: the wish of a rule is data (`acts`).  The same code runs over live and over
stored sessions.
"""
