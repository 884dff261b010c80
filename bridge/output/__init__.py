"""Output for page, terminal and log: safe text of strangers, tables, timelines, CSV.

| modules | subject |
|---|---|
| `harmless`, `redact` | text of strangers without control characters; text without tokens |
| `text`, `cells`, `durations` | values as short text, as text of a certain width; durations |
| `table` | tables for a terminal or a file |
| `timeline_lanes`, `timeline_text` | a timeline as lanes, for page and terminal; lanes as text |
| `csv_columns`, `ascii_json` | CSV for spreadsheets; JSON that no terminal obeys |
| `progress` | the progress of something slow |

Nothing here reads a file or a socket.  The launcher imports `progress` before anything is
installed, so this package imports nothing by itself.
"""
