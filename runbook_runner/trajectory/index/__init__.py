"""Room `trajectory`, `index`: finds runs among 100,000 at once. A cache of what the folders say, in the user's data."""
