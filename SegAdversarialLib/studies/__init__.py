"""Cohorts x networks x attacks x budgets: planned, run anywhere, stored, resumed, reported; and the papers as studies."""
