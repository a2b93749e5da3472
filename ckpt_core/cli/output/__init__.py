"""The output of commands: tables, pages, JSON, CI reports and failures."""
