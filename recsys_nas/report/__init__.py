"""What a run came to: results.json, the table in the terminal and the self-contained HTML page. Imports no torch."""
