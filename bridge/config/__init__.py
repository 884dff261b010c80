"""Settings: every setting and rule as a table, and what this machine allows.

    values            one value of one setting, parsed or refused
    setting_table     every flat setting: flag, variable, TOML key, parser, default, help
    setting_lists     settings that are lists of tables: `[[name]]` in the file
    setting_files     files that settings come from, read with bounds
    setting_sources   where a value was given
    settings          all of it together, checked and typed
    machine           open files, a directory to write to, a port to listen on
    http_address, public_address   where we listen, and under which names we are called

A value passes from a source through its parser into the frozen `Settings`.
"""
