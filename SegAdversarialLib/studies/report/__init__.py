"""The report of a study: one HTML file that says what was run, what came out, and what that does not say."""
