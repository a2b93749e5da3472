"""What a command prints: tables, pages, JSON, reports for CI, and failures."""
