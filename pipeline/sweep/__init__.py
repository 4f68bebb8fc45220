"""The stage `sweep`: many ordinary runs, of a table or of a search."""
